"""The wheel holds everything that is needed, and needs no clone."""

import ast
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import sicjax
from sicjax import config as C
from sicjax.config.files import bundled_configs, find_file

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy, so nothing is left in the clone; without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            os.link(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(folder), str(source)], check=True)
    return next(folder.glob("sicjax-*.whl"))


def test_wheel_holds_code_configs_templates_and_weights(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.name.startswith(f"sicjax-{sicjax.__version__}-")
    for folder, there in (("sicjax", "sicjax"), ("configs", "sicjax/configs")):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".j2", ".npz", ".json", ".typed"}:
                assert f"{there}/{path.relative_to(ROOT / folder).as_posix()}" in names
    top = {name.split("/")[0] for name in names}
    assert top == {"sicjax", f"sicjax-{sicjax.__version__}.dist-info"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of an environment with the wheel and the libraries of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    # A path in a .pth file is not searched for .pth files: an editable sicjax there stays unseen.
    (Path(site) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel]
    subprocess.run(install, check=True)
    return python


def run(python, *arguments, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [python, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_installed_package_trains_from_any_folder(installed, tmp_path):
    small = ("--config.num_steps=2", "--config.report=false", "--config.data.num_trajectories=2")
    done = run(installed, "-m", "sicjax.main", "--config=configs/quick.py", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "quick.py" in done.stdout
    assert (tmp_path / "runs" / "quick" / "config.json").is_file()
    code = (
        "import sicjax; print(sicjax.__file__);"
        "print(sicjax.load_pretrained('quick').rollout([[0.1, 0.0]]).shape)"
    )
    done = run(installed, "-c", code, cwd=tmp_path)
    where, shape = done.stdout.splitlines()
    assert Path(where).is_relative_to(installed.parent.parent)
    assert shape == "(1, 64)"


def test_a_config_of_ones_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_file("configs/quick.py") == bundled_configs()["configs/quick.py"]
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quick.py").write_text("")
    assert find_file("configs/quick.py") == Path("configs/quick.py")
    with pytest.raises(C.ConfigError, match=r"configs/full\.py"):
        find_file("configs/fast.py")


def test_version_is_said_once():
    assert f"\n## {sicjax.__version__} – " in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {sicjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_package_imports_nothing_that_only_a_clone_has():
    for path in (ROOT / "sicjax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"configs", "experiments", "tests"}
