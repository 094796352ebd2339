"""The house: imports go down only, and each library stays in its room."""

import ast
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

import sicjax

PACKAGE = Path(__file__).parent.parent / "sicjax"
MODULES = sorted(
    str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)

FLOORS = {
    "main": 9,
    "command": 5,
    "runs": 7,
    "report": 6, "pretrained": 6,
    "run": 5,
    "training": 4,
    "network": 3, "analysis": 3,
    "config": 2, "devices": 2, "arguments": 2,
    "errors": 1, "paths": 1, "stderr": 1, "plots": 1, "progress": 1, "version": 1,
}  # fmt: skip

ROOMS = {
    "orbax": {"training.checkpoint"},
    "tensorstore": {"training.checkpoint"},
    "matplotlib": {
        "plots.style",
        "plots.maps",
        "plots.curves",
        "plots.modules",
        "plots.dynamics",
        "plots.motion",
        "plots.no_backend",
        "report.folder",
        "report.figures",
        "report.animations",
        "report.given_page",
    },
    "tensorboardX": {"training.metrics"},
    "tqdm": {"training.metrics", "progress"},
    "ripser": {"analysis.cohomology", "analysis.torus"},
    "sklearn": {"analysis.modules", "analysis.torus"},
    "optax": {"training.step", "training.optimizer"},
    "flax": {"network.model"},
    "jinja2": {"report.page"},
}

READS_CONFIG = {
    "config.check", "config.files", "training.workdir", "training.method", "training.optimizer",
    "training.step", "training.population", "training.agreement", "training.loop", "run", "runs",
    "main", "command", "report.phase",
}  # fmt: skip

NOT_FOR_ANALYSIS = ("run", "training", "config", "devices", "network")


def floor(module):
    """A folder is a floor of its own."""
    return FLOORS[module.partition(".")[0]]


def tree(module):
    return ast.parse((PACKAGE / (module.replace(".", "/") + ".py")).read_text())


def imports(module):
    """Full names of all that a module imports."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inner(module):
    """Modules of the package that a module imports."""
    for name in imports(module):
        for other in MODULES:
            if name == f"sicjax.{other}" or name.startswith(f"sicjax.{other}."):
                yield other


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    for other in inner(module):
        assert floor(other) <= floor(module), f"{module} imports {other}, which stands above it"


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_rooms(module):
    for name in imports(module):
        rooms = ROOMS.get(name.split(".")[0])
        assert rooms is None or module in rooms, f"{module} imports {name}"
        if name.startswith("ml_collections"):
            assert module in READS_CONFIG


def test_no_circle():
    below = {module: set(inner(module)) for module in MODULES}
    clear = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path, module])
        for other in below[module] - clear:
            visit(other, [*path, module])
        clear.add(module)

    for module in MODULES:
        visit(module, [])


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("analysis.")])
def test_analysis_takes_arrays_alone(module):
    above = {other.partition(".")[0] for other in inner(module)}
    assert not above & set(NOT_FOR_ANALYSIS)


def test_no_circle_between_folders():
    """What a folder needs of another doesn't need the folder in turn."""

    def room(module):
        return module.partition(".")[0] if "." in module else module

    below = {room(module): set() for module in MODULES}
    for module in MODULES:
        below[room(module)] |= {room(other) for other in inner(module)} - {room(module)}

    def reached(start, seen):
        for other in below[start] - seen:
            seen.add(other)
            reached(other, seen)
        return seen

    for name in below:
        assert name not in reached(name, set()), name


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_a_room_is_overseen(path):
    """A file has at most 450 lines; a function fits a screen of 80."""
    text = path.read_text()
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno < 80, f"{path.name}: {node.name}"


def test_pmap_and_collectives_live_in_parallel_alone():
    names = {"pmap", "psum", "pmean", "all_gather", "all_to_all", "ppermute", "axis_index"}
    for module in MODULES:
        used = {node.attr for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
        assert module in ("devices.layout", "devices.split") or not used & names, module


def test_following_config_through_train_takes_few_stays(tiny_config, tmp_path):
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
