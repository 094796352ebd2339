"""Pages and notebooks: their code runs as written, the site builds without a warning."""

import ast
import contextlib
import copy
import functools
import html
import http.server
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
import types
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

import sicjax
from experiments import run_notebooks
from sicjax import config as C
from sicjax.__main__ import sicjax as installed
from sicjax.command import PROCESS_FLAGS, Parser, guarded
from sicjax.config.fields import FIELDS
from sicjax.main import parse
from sicjax.report import judge

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
CLUSTER = ROOT / "docs" / "pods.md"  # its commands need several machines, or many minutes
README = ROOT / "README.md"
TEXTS = [README, ROOT / "CONTRIBUTING.md", ROOT / "experiments/notebooks/README.md", *PAGES]
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
OTHERS = {
    "jax",
    "numpy",
    "matplotlib",
    "IPython",
    "flax",
    "tempfile",
    "json",
    "pathlib",
    "importlib",
    "optax",
    "subprocess",
    "sys",
    "csv",
    "datetime",
    "scipy",
    "pynwb",
    "ratinabox",
}  # besides sicjax
OUTSIDE = {"tensorboard"}  # programs that a page has the reader install


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def environment():
    """Return the environment where `python` is this one and finds this sicjax from any folder."""
    there = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": there, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A working folder that looks like a clone; the code writes into it."""
    for name in ("sicjax", "configs", "experiments", "docs", "mkdocs.yml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    with mpl.rc_context():
        plt.switch_backend("agg")
        yield tmp_path
        plt.close("all")


def run_code(path):
    """Run all Python of a page, block by block; returns its names."""
    names: dict = {"config": sicjax.default_config()} if path == CLUSTER else {}
    for code in blocks(path, "python"):
        exec(code, names)
    return names


class FakeWandb(types.ModuleType):
    """The part of Weights & Biases that a page calls: runs by id, which know their next step."""

    def __init__(self):
        super().__init__("wandb")
        self.rows = {}

    def init(self, *, project, name, id, resume, config):
        assert resume == "allow"
        assert config["num_steps"] > 0
        rows = self.rows.setdefault(id, [])

        class Run:
            step = rows[-1][0] + 1 if rows else 0

            def log(self, numbers, step):
                rows.append((step, numbers))

            def finish(self):
                pass

        return Run()


@pytest.fixture
def wandb(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


WITH_CODE = [path for path in [README, *PAGES] if blocks(path, "python")]


@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.stem)
def test_code_of_a_page_uses_names_that_exist(path):
    """The fast version of running the code: it parses, and sicjax has the names that it uses."""
    for code in blocks(path, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "sicjax" or hasattr(sicjax, node.attr), node.attr


@pytest.mark.slow
@pytest.mark.usefixtures("as_jax_is")
@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.stem)
def test_code_of_a_page_runs(path, clone, capsys, monkeypatch, wandb):
    if path.stem == "other_networks":  # its modules' diagrams take most of a minute
        monkeypatch.setattr(judge, "LANDMARKS", 60)
        monkeypatch.setattr(judge, "SHUFFLES", 20)
    names = run_code(path)
    printed = capsys.readouterr().out
    if path.stem == "weights":
        walk = 0.15 * np.random.default_rng(0).uniform(-1, 1, (60, 2))
        # Both are float32; 60 steps of rounding.
        np.testing.assert_allclose(names["rollout"](walk), names["run"].rollout(walk), atol=1e-4)
    if path.stem == "other_networks":
        found = [
            json.loads((clone / "runs" / name / "summary.json").read_text())
            for name in ("three_tori", "twisted")
        ]
        periods = [[module["period_m"] for module in summary["modules"]] for summary in found]
        assert periods[0] == pytest.approx([0.4, 0.56, 0.8], rel=0.02)
        assert periods[1] == pytest.approx([0.4], rel=0.05)
        assert found[1]["variance_explained"] > 0.7  # it has integrated its path
    if path.stem == "extending":
        assert "must be (60, 2)" in printed
        rows = (clone / "runs" / "even_load" / "metrics.jsonl").read_text().splitlines()
        assert json.loads(rows[-1])["even_load"] > 0
        assert names["again"].parameters.hypernetwork["params"]["generators"].shape == (5, 32, 32)
        steps = np.asarray(names["run"].method.velocities(names["jax"].random.key(0)))
        assert 0.02 < steps.std() < 0.06
        assert np.abs(steps).max() <= 0.15
    if path.stem == "watching":
        sent = {name: list(rows) for name, rows in wandb.rows.items()}
        assert [step for step, _ in sent["watched-000"]] == [5, 10, 15, 20]
        written = (clone / "runs" / "watched" / "metrics.jsonl").read_text().splitlines()[-1]
        assert sent["watched-000"][-1][1]["loss"] == json.loads(written)["loss"]
        names["send"]("runs/watched")  # a second time: no row twice
        assert wandb.rows == sent
    if path == README:
        assert names["maps"].ratemaps.shape == (64, 50, 50)
        assert names["mine"].step == 20
        assert names["cells"].kind.tolist() == ["grid"]
        assert 1.2 < names["cells"].grid_score[0] < 1.4


@pytest.mark.slow
@pytest.mark.usefixtures("as_jax_is")
@pytest.mark.filterwarnings("ignore::UserWarning")  # sicjax says where the arena's centre is
def test_a_file_becomes_a_page_as_written(clone):
    """All of from_file.md from top to bottom, its commands in this process."""
    pytest.importorskip("ratinabox", reason="comes with the test extra: pip install 'sicjax[test]'")
    page, names = (ROOT / "docs" / "from_file.md").read_text(), {}
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if language == "python":
            exec(code, names)
            continue
        words = shlex.split(code)
        assert words[:4] == ["$", "python", "-m", "sicjax"]
        assert guarded(installed, words[4:]) == 0
    for name in ("session", "rat7"):
        rows = (clone / f"{name}_sicjax" / "cells.csv").read_text().splitlines()
        assert [row.split(",")[1:3] for row in rows[1:]] == [
            ["T1C1", "grid"], ["T1C2", "grid"], ["T2C1", "other"]
        ]  # fmt: skip
    assert (clone / "agent_sicjax" / "report.html").is_file()
    assert (clone / "maps.pdf").is_file()


def test_examples_are_as_short_as_promised():
    extending = blocks(ROOT / "docs" / "extending.md", "python")
    numpy_only = blocks(ROOT / "docs" / "weights.md", "python")[-1]
    for code in [*extending, numpy_only]:
        lines = [line for line in code.splitlines() if line.strip()]
        assert len(lines) < (20 if code is numpy_only else 30)


def commands(path, language):
    """Yield the commands of a page: lines of bash blocks, lines after $ in console blocks."""
    for block in blocks(path, language):
        for line in block.splitlines():
            if language == "bash":
                yield line
            elif line.startswith("$ "):
                yield line.removeprefix("$ ")


def programs(line):
    """Yield the Python programs that a line starts through another one: gcloud, srun."""
    words = shlex.split(line)
    for k, word in enumerate(words):
        if " -m " in word:
            yield word.rpartition("&& ")[2]
        elif k and word.endswith("python"):
            yield shlex.join(words[k:])


def inline(path):
    """Yield the commands within a text."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for words in re.findall(r"`(python -m [^`]+)`", text):
        yield " ".join(words.split())
    for words in re.findall(r"`(?:\.venv/bin/)?(sicjax \w+ [^`-][^`]*)`", text):
        yield "python -m " + " ".join(words.split())


QUICK = [c for path in PAGES if path != CLUSTER for c in commands(path, "bash")]
SLOW = [c for path in TEXTS for c in commands(path, "console")]
SLOW += commands(README, "bash")
for one in commands(CLUSTER, "bash"):
    SLOW += [one.removesuffix(" &")] if one.startswith("python -m") else programs(one)
SLOW += sorted({c for path in TEXTS for c in inline(path)} - {*SLOW})


@pytest.mark.slow
@pytest.mark.parametrize("command", QUICK)
def test_quick_commands_run_as_written(command, clone):
    done = subprocess.run(
        ["bash", "-c", command], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class FlagsReadError(Exception):
    """A command's own parser has accepted its flags."""


@pytest.mark.parametrize("command", SLOW)
def test_slow_commands_name_what_exists(command, clone, monkeypatch):
    """Too slow to run here: their own parsers read them, and their modules and extras exist."""
    read = Parser.read

    def stop(parser, arguments):
        read(parser, arguments)
        raise FlagsReadError

    for part in command.split("&&"):
        words = shlex.split(part)
        if words[0] == "source" or words[:3] == ["python3", "-m", "venv"]:
            continue
        if words[1] == "-c":
            compile(words[2], part, "exec")
            continue
        assert Path(words[0]).name == "python", part
        assert words[1] == "-m", part
        module, arguments = words[2], words[3:]
        if module.partition(".")[0] in OUTSIDE:
            installs = f"pip install {module.partition('.')[0]}"
            assert any(installs in other for other in SLOW), part
            continue
        assert importlib.util.find_spec(module), part
        if module == "pip":
            for extras in re.findall(r"\.\[(.*)\]", arguments[-1]):
                for extra in extras.split(","):
                    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()
        elif arguments == ["--help"]:
            assert f"python -m {module} --help" in QUICK
        elif module == "sicjax.main":
            flags = [a for a in arguments if a[2:].partition("=")[0] not in PROCESS_FLAGS]
            C.validate(parse(flags)[0])
        elif module == "sicjax" or module.startswith("experiments."):
            run = installed if module == "sicjax" else importlib.import_module(module).main
            monkeypatch.setattr(Parser, "read", stop)
            with pytest.raises(FlagsReadError):
                run(arguments)


def test_there_are_commands_of_both_kinds():
    assert len(QUICK) >= 2
    assert len(SLOW) >= 8
    assert sum("gcloud" in c or "srun" in c for c in commands(CLUSTER, "bash")) == 3
    assert sum("sicjax.main" in c and "/runs/pod" in c for c in SLOW) == 3  # SLURM, TPU, bucket


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_text_refers_to_exists(path):
    """Links lead to files in the repository, where the text is read, too; named extras exist."""
    text = path.read_text()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for place in re.findall(r"\]\((?!https?:)([^)#\s]+)", prose):
        if path.parent.name != "docs" or not place.startswith("notebooks/"):
            assert (path.parent / place).exists(), place
        else:  # the site makes it of a notebook
            assert (ROOT / "experiments" / place).with_suffix(".ipynb").exists(), place
    extras = re.findall(r"(?:\.|sicjax)\[(\w+)\]", text)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {*extras} <= known["optional-dependencies"].keys()
    assert path.name != "start.md" or {"cuda12", "cuda13", "tpu"} <= {*extras}


def slug(heading):
    """Return the anchor of a heading on the site."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_is_in_the_site_and_links_to_headings_that_exist(path):
    """The fast version of building the site."""
    text = path.read_text()
    assert f" {path.name}\n" in (ROOT / "mkdocs.yml").read_text()
    for place, anchor in re.findall(r"\]\(([\w/.]*)#([\w-]+)\)", text):
        target = path.parent / place if place else path
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert anchor in map(slug, headings), f"{place}#{anchor}"
    documented = re.findall(r"^::: (\S+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    for name in re.findall(r"\]\[(sicjax[\w.]*)\]", text):
        assert name in documented or name.rpartition(".")[0] in documented, name


def test_every_public_name_has_an_entry_in_the_reference():
    entries = re.findall(r"^::: (\S+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert {f"sicjax.{name}" for name in sicjax.__all__} <= {*entries}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder],
        cwd=ROOT, env={**environment(), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "INFO" in done.stderr  # not silenced
    assert not re.findall(r".*(?:WARNING|ERROR|requires either).*", done.stdout + done.stderr)
    return folder


class Links(HTMLParser):
    """The links of a page, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src"):
                self.links.append((tag, value))
            elif name == "id":
                self.anchors.add(value)


@pytest.mark.slow
def test_no_link_of_the_site_is_broken(site):
    pages = {path: Links(path) for path in site.rglob("*.html")}
    assert len(pages) > len(PAGES) + len(NOTEBOOKS)
    for path, page in pages.items():
        for tag, link in page.links:
            if path.name == "404.html" or re.match(r"(https?|mailto|data):", link):
                assert tag == "a" or link.startswith(("data:", "/")), f"{path}: loads {link}"
                continue
            place, _, anchor = link.partition("#")
            target = (path.parent / place).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path}: {link}"
            if anchor and target.suffix == ".html":
                assert anchor in pages[target].anchors, f"{path}: {link}"


@pytest.mark.slow
def test_equations_fields_and_figures_are_on_the_site(site):
    method = (site / "method" / "index.html").read_text()
    assert method.count("<math") > 15
    assert "arithmatex" not in method
    settings = (site / "settings" / "index.html").read_text().replace("<wbr>", "")
    assert all(f"<code>{name}</code>" in settings for name in FIELDS)
    for path in NOTEBOOKS:
        assert "<img" in (site / "notebooks" / path.stem / "index.html").read_text()


def test_names_break_after_a_sign_in_tables_and_nowhere_else():
    """On a phone; the tags around a name stay whole."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = "<p><code>a_b</code></p><td><code>a_b.c/d</code>, e_f, <code>plain</code></td>"
    assert hooks.on_page_content(page) == (
        "<p><code>a_b</code></p>"
        "<td><code>a_<wbr>b.<wbr>c/<wbr>d</code>, e_f, <code>plain</code></td>"
    )


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site):
    reference = Links(site / "api" / "index.html")
    assert {f"sicjax.{name}" for name in sicjax.__all__} <= reference.anchors


@pytest.mark.slow
def test_the_fields_of_a_result_are_in_the_reference(site):
    reference = (site / "api" / "index.html").read_text()
    for words in ("samples per bin", "each row a permutation of range(T)", "median spacing"):
        assert words in reference


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_uses_public_names_only(path):
    cells = json.loads(path.read_text())["cells"]
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= OTHERS | {"sicjax"}
                assert all(a.name == "sicjax" for a in node.names if a.name.startswith("sicjax"))
            elif isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] in OTHERS
            elif isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_")
                if isinstance(node.value, ast.Name) and node.value.id == "sicjax":
                    assert node.attr in sicjax.__all__


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_with_the_outputs_of_one_run(path):
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" for output in outputs)
    for cell in cells:  # each cell that draws shows a figure
        if "sicjax.plots." in "".join(cell["source"]):
            assert any("image/png" in output.get("data", {}) for output in cell["outputs"])
    text = "".join("".join(output.get("text", "")) for output in outputs)
    assert "it/s]" not in text, "a progress bar"
    assert path.stat().st_size < 1.5e6


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_with_small_settings(path, tmp_path):
    command = [sys.executable, "-m", "experiments.run_notebooks", "--small", path.stem]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("as_jax_is")
@pytest.mark.filterwarnings("ignore")  # pynwb's own
def test_the_notebook_from_a_file_runs_as_written(clone, monkeypatch):
    """All its cells with the small settings, its commands in this process."""
    pytest.importorskip("ratinabox", reason="comes with the test extra: pip install 'sicjax[test]'")

    def run(command, **options):
        if command[1:4] != ["-m", "sicjax", "score"]:  # of a library
            return real(command, **options)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert guarded(installed, command[3:]) == 0
        return types.SimpleNamespace(stdout=said.getvalue(), stderr="")

    names, real = {}, subprocess.run
    monkeypatch.setattr(subprocess, "run", run)
    notebook = ROOT / "experiments" / "notebooks" / "from_file.ipynb"
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source + "\n" + cell.metadata.get("small", ""), names)
    pages = [path.parent.name for path in clone.glob("*/report.html")]
    files = ["agent", "rat7", "session"] + ["rat7_session"] * ("pynwb" in names)
    assert sorted(pages) == sorted([*(f"{name}_sicjax" for name in files), "session_in_python"])
    assert [row["name"] for row in names["rows"]] == ["T1C1", "T1C2", "T2C1"]
    assert (clone / "maps.pdf").is_file()


def test_notebooks_are_in_the_order_of_their_readme_and_of_the_site():
    readme = (ROOT / "experiments" / "notebooks" / "README.md").read_text()
    order = re.findall(r"\| \d \| \[\w+\]\((\w+)\.ipynb\)", readme)
    assert sorted(order) == [path.stem for path in NOTEBOOKS]
    assert re.findall(r"notebooks/(\w+)\.md", (ROOT / "mkdocs.yml").read_text()) == order


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_installs_what_is_missing_and_only_that(path, monkeypatch):
    first = next(c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code")
    assert first["metadata"]["tags"] == ["install"]
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    exec("".join(first["source"]), {})
    assert not ran
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    exec("".join(first["source"]), {})
    (command,) = ran
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert (run_notebooks.public_address() or "../..") in command[5]
    code = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"][1:]
    needs = any("ratinabox" in "".join(cell["source"]) for cell in code)
    assert ("ratinabox" in command) == needs


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_linked_to_the_repository_s_public_address(path, tmp_path):
    """The address is that of pyproject.toml: none yet, one, another one, or none again."""
    committed = nbformat.read(path, as_version=4)
    linked = copy.deepcopy(committed)
    run_notebooks.link(linked, path.name, run_notebooks.public_address())
    assert linked == committed, "run: python -m experiments.run_notebooks --link"
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "sicjax"\n')
    assert run_notebooks.public_address(project) == ""
    run_notebooks.link(linked, path.name, "")
    without = copy.deepcopy(linked)
    assert "colab" not in without.cells[0].source
    project.write_text('[project.urls]\nRepository = "https://github.com/someone/cells.git/"\n')
    for _ in range(2):
        run_notebooks.link(linked, path.name, run_notebooks.public_address(project))
        title = linked.cells[0].source
        assert title.count("colab-badge.svg") == 1
        place = "github/someone/cells/blob/main/experiments/notebooks"
        assert f"(https://colab.research.google.com/{place}/{path.name})" in title
        assert '"sicjax": "git+https://github.com/someone/cells"' in linked.cells[1].source
    run_notebooks.link(linked, path.name, "https://forge.example/someone/cells")
    assert "colab" not in linked.cells[0].source
    run_notebooks.link(linked, path.name, "")
    assert linked == without


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_writes_into_fresh_folders_only(path):
    """A second run must not find files of the first one."""
    source = "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
    folders = re.findall(r"(?:\.train\(\w+|load_run\(), *([^,)]+)", source)
    assert {*folders} <= {"workdir"}
    assert not folders or "workdir = tempfile.mkdtemp()" in source


def browse(address, profile):
    """Return the page as Chromium renders it; it must not report an error."""
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-sync",
            "--disable-component-update", "--enable-logging=stderr",
            f"--user-data-dir={profile}", "--dump-dom", address,
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "</html>" in done.stdout
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("page", ["index.html", "results/index.html", "notebooks/grow/index.html"])
def test_pages_open_without_an_error(site, page, tmp_path):
    browse((site / page).as_uri(), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_no_page_is_wider_than_a_phone_and_commands_are_not_cut(site, tmp_path):
    places = [path.relative_to(site).as_posix() for path in sorted(site.rglob("index.html"))]
    tables = [place for place in places if re.match(r"results/.+/", place)]
    places = [place for place in places if place not in tables[1:]]  # all are of one kind
    frames = "".join(f'<iframe width="390" src="{place}"></iframe>' for place in places)
    (site / "phone.html").write_text(f"""<!doctype html><html><body>{frames}<script>
        addEventListener("load", () => {{
            const cut = (page, what) => [...page.querySelectorAll(what)].filter(
                (part) => part.scrollWidth > part.clientWidth + 1);
            const wrong = [...document.querySelectorAll("iframe")].flatMap((frame) =>
                cut(frame.contentDocument,
                    "html, :is(.language-bash, .language-console, .doc-signature) code")
                    .map((part) => `${{frame.getAttribute("src")}} ${{part.textContent.trim()}}`));
            document.body.textContent = `{len(places)} pages, too wide: ${{wrong.join("; ")}}`;
        }});
        </script></body></html>""")
    handler = functools.partial(QuietHandler, directory=site)
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = browse(f"http://localhost:{server.server_port}/phone.html", tmp_path)
        server.shutdown()
    assert f"<body>{len(places)} pages, too wide: </body>" in shown
    assert len(places) > len(PAGES)


@pytest.mark.slow
def test_signatures_are_broken_into_lines(site):
    """None is wider than its box on a screen: the reference has 80 columns."""
    page = (site / "api" / "index.html").read_text()
    signatures = re.findall(r'<div class="[^"]*doc-signature[^"]*">(.*?)</div>', page, re.DOTALL)
    lines = [html.unescape(re.sub("<[^>]+>", "", one)) for one in signatures]
    assert len(lines) > 30
    assert max(len(line) for one in lines for line in one.splitlines()) <= 80


@pytest.mark.slow
def test_home_has_the_picture_and_results_their_figures(site):
    def pictures(page):
        found = [place for tag, place in Links(page).links if tag == "img"]
        return [Path(place).name for place in found]

    assert "quick_ratemaps_3m_seed0.png" in pictures(site / "index.html")
    assert len(pictures(site / "results" / "index.html")) >= 5


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves the site without a log line for each request."""

    def log_message(self, *_):
        pass
