"""Every example in a docstring and in the README runs and gives the shown result."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import sicjax

README = Path(__file__).parent.parent / "README.md"
DOCS = README.parent / "docs"

PACKAGE = Path(sicjax.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if re.search(r"^ *Example:$", path.read_text(), re.MULTILINE)
]
TRAIN_OR_REPORT = {"report.activity", "run", "runs", "training.method"}  # seconds to a minute each


@pytest.mark.usefixtures("as_jax_is")
@pytest.mark.parametrize(
    "name",
    [pytest.param(m, marks=pytest.mark.slow) if m in TRAIN_OR_REPORT else m for m in MODULES],
)
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(f"sicjax.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("name", sorted(TRAIN_OR_REPORT))
def test_long_examples_use_names_that_exist(name):
    """The fast version of the slow examples: they parse, and sicjax has the names that they use."""
    module = importlib.import_module(f"sicjax.{name}")
    examples = [one for test in doctest.DocTestFinder().find(module) for one in test.examples]
    used = re.findall(r"\bsicjax\.(\w+)", "".join(one.source for one in examples))
    assert {"sicjax", *used} <= {"sicjax", *sicjax.__all__}
    for one in examples:
        compile(one.source, name, "single")


def test_every_public_name_is_documented():
    for name in sicjax.__all__:
        text = inspect.getdoc(getattr(sicjax, name))
        assert text
        assert "Example:" in text, name
        assert "Source:" in text, name


def test_readme_is_short():
    """Count words outside code and tables; of a link, its text and its address."""
    text = re.sub(r"^```.*?^```", "", README.read_text(), flags=re.DOTALL | re.MULTILINE)
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("|"))
    words = [word for word in prose.split() if re.search(r"\w", word)]
    assert 500 < len(words) < 900
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert all(len([line for line in code.splitlines() if line.strip()]) <= 12 for code in blocks)
    for name in ("load_config", "load_pretrained", "score_recording"):
        assert f"sicjax.{name}(" in "".join(blocks)


@pytest.mark.parametrize("page", [README, DOCS / "index.md", DOCS / "results.md"])
def test_every_figure_says_what_to_look_at(page):
    paragraphs = page.read_text().split("\n\n")
    figures = [k for k, paragraph in enumerate(paragraphs) if paragraph.startswith("![")]
    assert figures
    for k in figures:
        assert paragraphs[k + 1].startswith("*What to look at: "), paragraphs[k]


def test_readme_holds_the_two_commands_on_a_line_each():
    commands = [line for line in README.read_text().splitlines() if line.startswith("python3 -m")]
    assert len(commands) == 2
    assert "configs/quick.py" in commands[0]
    assert commands[1].endswith("pytest")
