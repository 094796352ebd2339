"""Memory: what a compiled program needs of a device, and what the device has to give."""

import contextlib
from pathlib import Path
from typing import Any

from sicjax.devices.layout import Layout


def device_bytes(compiled: Any) -> int:
    """Bytes that a compiled program needs on each device: arguments, results, workspace."""
    found = compiled.memory_analysis()
    return (
        found.argument_size_in_bytes + found.output_size_in_bytes
        - found.alias_size_in_bytes + found.temp_size_in_bytes
    )  # fmt: skip


def device_limit(layout: Layout) -> float | None:
    """Bytes that a device of this process has to give; None if it doesn't tell.

    Those of a CPU that the layout uses share what the machine, or its container, has free.
    """
    mine = layout.mesh.local_devices
    if stats := mine[0].memory_stats():
        return stats.get("bytes_limit")
    free = []
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text())
        free.append(most - int((group / "memory.current").read_text()))
    return min(free) / len(mine) if free else None
