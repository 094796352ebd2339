"""Every example in a docstring and in the README runs and gives what it says."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import sicjax

README = Path(__file__).parent.parent / "README.md"


MODULES = (
    "analysis.modules", "analysis.ratemaps", "analysis.recordings", "analysis.torus",
    "analysis.units", "config", "loop", "losses", "method", "model", "plots", "recipes",
    "report.activity", "run", "trajectories", "weights",
)  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(f"sicjax.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_every_public_name_is_documented():
    for name in sicjax.__all__:
        text = inspect.getdoc(getattr(sicjax, name))
        assert text
        assert "Example:" in text, name
        assert "Source:" in text, name
    folder = Path(sicjax.__file__).parent
    with_examples = {
        ".".join(path.relative_to(folder).with_suffix("").parts)
        for path in folder.rglob("*.py")
        if "\n    Example:" in path.read_text() or "\nExample:" in path.read_text()
    }
    assert with_examples == set(MODULES)


def test_readme_notebook(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_config.data.trajectory_length = 60
    sicjax.train(tiny_config, "runs/quick")
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["states"].shape == (32, 60, 8)
    assert names["gradient"].shape == names["states"].shape
    assert names["maps"].ratemaps.shape == (8, 50, 50)
    assert names["maps"].occupancy.min() >= 20
    assert names["loss"] > 0


def test_readme_holds_the_two_commands_on_a_line_each():
    commands = [line for line in README.read_text().splitlines() if line.startswith("python3 -m")]
    assert len(commands) == 2
    assert "configs/quick.py" in commands[0]
    assert commands[1].endswith("pytest")
