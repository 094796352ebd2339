"""Dependencies of the package: the oldest allowed versions are the tested ones."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_lowest_versions_are_the_declared_ones():
    """Names and lower bounds, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [re.match(r"([\w-]+)>=([\d.]+)", one) for one in project["dependencies"]]
    assert all(declared)
    lines = (ROOT / "tests" / "constraints-lowest.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins == [f"{one[1]}=={one[2]}" for one in declared]
