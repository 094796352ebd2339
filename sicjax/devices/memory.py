"""Memory that a compiled program needs on a device, and memory that the device has."""

import contextlib
from pathlib import Path
from typing import Any

from sicjax.devices.layout import Layout


def device_bytes(compiled: Any) -> int:
    """Return the bytes that a compiled program needs on each device, workspace included."""
    found = compiled.memory_analysis()
    return (
        found.argument_size_in_bytes + found.output_size_in_bytes
        - found.alias_size_in_bytes + found.temp_size_in_bytes
    )  # fmt: skip


def device_limit(layout: Layout) -> float | None:
    """Return the bytes that each device of this process has; None if unknown.

    CPU devices share the free memory of the machine, or of its container.
    """
    mine = layout.mesh.local_devices
    if stats := mine[0].memory_stats():
        return stats.get("bytes_limit")
    free = [number for number in (machine_free(), container_free()) if number is not None]
    return min(free) / len(mine) if free else None


def machine_free() -> int | None:
    """Return the free bytes of the machine; None except on Linux."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return 1024 * int(line.split()[1])
    return None


def container_free(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the free bytes of this process's control group; None without a limit.

    Cached pages of files count as used there, but the kernel drops the inactive ones on demand.
    """
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        rows = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        cached = sum(int(number) for name, number in rows if name == "inactive_file")
        return limit - max(used - cached, 0)
    return None
