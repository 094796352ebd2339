"""Pages and notebooks: their code runs as written, the site builds without a warning."""

import ast
import functools
import http.server
import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import sicjax
from sicjax import config as C
from sicjax.main import PROCESS_FLAGS, parse
from sicjax.report import evaluate

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
CLUSTER = ROOT / "docs" / "pods.md"  # its commands need several machines, or many minutes
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
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
}  # besides sicjax


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def environment():
    """So that `python` is this one and finds this sicjax from any folder."""
    there = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": there, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A working folder that looks like a clone, and takes what the code writes."""
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


@pytest.mark.parametrize(
    "path", [path for path in PAGES if blocks(path, "python")], ids=lambda path: path.stem
)
def test_code_of_a_page_runs(path, clone, capsys, monkeypatch):
    if path.stem == "other_networks":  # its modules' diagrams take most of a minute
        monkeypatch.setattr(evaluate, "LANDMARKS", 60)
        monkeypatch.setattr(evaluate, "SHUFFLES", 20)
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


def test_examples_are_as_short_as_promised():
    extending = blocks(ROOT / "docs" / "extending.md", "python")
    numpy_only = blocks(ROOT / "docs" / "weights.md", "python")[1]
    for code in [*extending, numpy_only]:
        lines = [line for line in code.splitlines() if line.strip()]
        assert len(lines) < (20 if code is numpy_only else 30)


def commands(path, language):
    """Commands of a page: lines of bash blocks, lines after $ in console blocks."""
    for block in blocks(path, language):
        for line in block.splitlines():
            if language == "bash":
                yield line
            elif line.startswith("$ "):
                yield line.removeprefix("$ ")


QUICK = [c for path in PAGES if path != CLUSTER for c in commands(path, "bash")]
SLOW = [c for path in TEXTS for c in commands(path, "console")]
SLOW += commands(ROOT / "README.md", "bash")
if CLUSTER in PAGES:
    SLOW += [c.removesuffix(" &") for c in commands(CLUSTER, "bash") if c.startswith("python -m")]


@pytest.mark.parametrize("command", QUICK)
def test_quick_commands_run_as_written(command, clone):
    done = subprocess.run(
        ["bash", "-c", command], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", SLOW)
def test_slow_commands_name_what_exists(command, clone):
    """Too slow to run here: their flags are parsed, their modules and extras looked up."""
    for part in command.split("&&"):
        words = shlex.split(part)
        if words[0] == "source" or words[:3] == ["python3", "-m", "venv"]:
            continue
        assert Path(words[0]).name == "python", part
        assert words[1] == "-m", part
        module, arguments = words[2], words[3:]
        assert importlib.util.find_spec(module), part
        if module == "pip":
            for extra in re.findall(r"\.\[(.*)\]", arguments[-1]):
                assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()
        elif module == "sicjax.main":
            flags = [a for a in arguments if a[2:].partition("=")[0] not in PROCESS_FLAGS]
            C.validate(parse(flags)[0])
        elif module.startswith("experiments."):
            usage = inspect.getdoc(importlib.import_module(module))
            for argument in arguments:
                assert argument.partition("=")[0].partition(".")[0] in usage, argument


def test_there_are_commands_of_both_kinds():
    assert len(QUICK) >= 2
    assert len(SLOW) >= 8


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", folder],
        cwd=ROOT, env={**environment(), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Links(HTMLParser):
    """What a page refers to, and the places that can be referred to."""

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


def test_equations_fields_and_figures_are_on_the_site(site):
    method = (site / "method" / "index.html").read_text()
    assert method.count("<math") > 15
    assert "arithmatex" not in method
    settings = (site / "settings" / "index.html").read_text()
    assert all(f"<code>{name}</code>" in settings for name in C.FIELDS)
    for path in NOTEBOOKS:
        assert "<img" in (site / "notebooks" / path.stem / "index.html").read_text()


def test_every_public_name_is_in_the_reference(site):
    reference = Links(site / "api" / "index.html")
    assert {f"sicjax.{name}" for name in sicjax.__all__} <= reference.anchors


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
    assert path.stat().st_size < 1.5e6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_with_small_settings(path, tmp_path):
    command = [sys.executable, "-m", "experiments.run_notebooks", "--small", path.stem]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_there_are_six_notebooks():
    assert len(NOTEBOOKS) == 6


def browse(address, profile):
    """What Chromium makes of a page; it may not complain."""
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


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("page", ["index.html", "method/index.html", "notebooks/grow/index.html"])
def test_pages_open_without_an_error(site, page, tmp_path):
    browse((site / page).as_uri(), tmp_path)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_no_page_is_wider_than_a_phone_and_commands_are_not_cut(site, tmp_path):
    places = [path.relative_to(site).as_posix() for path in sorted(site.rglob("index.html"))]
    frames = "".join(f'<iframe width="390" src="{place}"></iframe>' for place in places)
    (site / "phone.html").write_text(f"""<!doctype html><html><body>{frames}<script>
        addEventListener("load", () => {{
            const cut = (page, what) => [...page.querySelectorAll(what)].filter(
                (part) => part.scrollWidth > part.clientWidth + 1);
            const wrong = [...document.querySelectorAll("iframe")].flatMap((frame) =>
                cut(frame.contentDocument, "html, .language-bash code, .language-console code")
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


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves the site without a word for each request."""

    def log_message(self, *_):
        pass
