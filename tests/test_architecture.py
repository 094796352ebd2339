"""The layout of docs/house.md: imports go down, and each library stays in its room."""

import ast
import re
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

import sicjax

PACKAGE = Path(sicjax.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
PAGE = (PACKAGE.parent / "docs" / "house.md").read_text()
LEVELS = {
    room.removesuffix("/").removesuffix(".py"): int(level)
    for level, room in re.findall(r"^\| (\d) \| `([\w./]+)` \|", PAGE, re.MULTILINE)
}
LIBRARIES = {
    name: re.findall(r"`([\w.]+)`", places)
    for names, places in re.findall(r"^\| (`[a-z]\w+`.*?) \| (`.*) \|$", PAGE, re.MULTILINE)
    for name in re.findall(r"`(\w+)`", names)
}
COLLECTIVES = {"pmap", "psum", "pmean", "all_gather", "all_to_all", "ppermute", "axis_index"}
# Rooms on lower levels that not all rooms above may import.
CLOSED = {
    "analysis": {"config", "devices"},
    "network": {"config"},
    "devices": {"config"},
}


def room(module):
    return module.partition(".")[0]


def imports(module):
    """Return the full names of everything that a module imports."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inner(module):
    """Return the package's modules that a module imports, each by its longest existing name."""
    for name in imports(module):
        parts = name.split(".")
        if parts[0] == "sicjax":
            names = (".".join(parts[1:end]) for end in range(len(parts), 1, -1))
            yield next((other for other in names if other in MODULES), "__init__")


def test_the_page_lists_every_room():
    assert {room(module) for module in MODULES} <= set(LEVELS)
    assert set(LIBRARIES) >= {"orbax", "matplotlib", "ml_collections"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    own = room(module)
    for other in map(room, inner(module)):
        assert other != "__init__" or own == "__init__", f"{module} imports the package itself"
        down = LEVELS[other] < LEVELS[own] or other == "errors"
        assert own == other or down, f"{module} imports {other}, which is not below it"
        assert other not in CLOSED.get(own, ()), f"{module} imports {other}"


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_rooms(module):
    for name in imports(module):
        places = LIBRARIES.get(name.partition(".")[0], [module])
        assert {module, room(module)} & {*places}, f"{module} imports {name}"


def test_no_circle_within_a_room():
    below = {module: set(inner(module)) - {module, room(module)} for module in MODULES}
    clear = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path, module])
        for other in below[module] - clear:
            visit(other, [*path, module])
        clear.add(module)

    for module in MODULES:
        visit(module, [])


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_a_file_and_its_functions_are_short(path):
    """A file has at most 450 lines; a function fits a screen of 80."""
    text = path.read_text()
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno < 80, f"{path.name}: {node.name}"


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) != "devices"])
def test_pmap_and_collectives_live_in_devices(module):
    nodes = ast.walk(ast.parse(MODULES[module].read_text()))
    assert not COLLECTIVES & {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@pytest.mark.slow
def test_following_config_through_train_takes_few_stops(tiny_config, tmp_path):
    handed = set()

    def profile(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            if any(isinstance(frame.f_locals.get(name), ConfigDict) for name in names):
                handed.add((Path(code.co_filename).stem, code.co_name))

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        sicjax.train(tiny_config, tmp_path / "run")
    finally:
        sys.setprofile(before)
    assert {("runs", "train"), ("step", "make_dispatch")} <= handed
    assert len(handed) <= 25, sorted(handed)
