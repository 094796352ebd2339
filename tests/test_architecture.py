"""The house: imports go down only, and each library stays in its room."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sicjax"
MODULES = sorted(
    str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)

FLOORS = {
    "main": 4,
    "loop": 3,
    "training": 2, "run": 2, "weights": 2, "analysis.evaluation": 2, "analysis.snapshots": 2,
    "analysis.report": 2,
    "trajectories": 1, "model": 1, "pairs": 1, "losses": 1, "plots": 1,
    "config": 0, "arguments": 0, "parallel": 0, "checkpoint": 0, "compilation": 0,
    "monitor": 0, "workdir": 0,
}  # fmt: skip

ROOMS = {
    "orbax": {"checkpoint"},
    "matplotlib": {"plots", "analysis.report"},
    "tensorboardX": {"monitor"},
    "tqdm": {"monitor"},
    "ripser": {"analysis.torus"},
    "optax": {"training"},
    "flax": {"model"},
    "jinja2": {"analysis.report"},
}

READS_CONFIG = {"config", "workdir", "training", "run", "loop", "main", "analysis.report"}


def floor(module):
    """Everything in analysis/ but the report stands on floor 1."""
    return 1 if module.startswith("analysis.") and module not in FLOORS else FLOORS[module]


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


def test_pmap_and_collectives_live_in_parallel_alone():
    names = {"pmap", "psum", "pmean", "all_gather", "all_to_all", "ppermute", "axis_index"}
    for module in MODULES:
        used = {node.attr for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
        assert module == "parallel" or not used & names, module
