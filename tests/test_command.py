"""The one parser of all commands: help, unknown flags, values, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sicjax import load_run, load_weights, main
from sicjax.__main__ import SUBCOMMANDS, sicjax
from sicjax.command import Parser, guarded, whole_number

REPORTS = "sicjax.report.run_reports.write_reports"
ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted(
    path.stem
    for path in (ROOT / "experiments").glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
    and path.stem not in ("opexebo_scores", "map_scorers")
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-h"],
        ["--config=quick", "--help"],
        ["--help", "--config=quick"],
        ["--config=quick", "-h"],
        ["--config", "quick", "--help"],
        ["--config.seed=3", "--help", "--coordinator=nowhere:1"],
        ["--config.seed", "--help"],
    ],
)
def test_help_is_help_wherever_it_stands(arguments, capsys):
    assert main.main(arguments) == 0
    said = capsys.readouterr()
    assert "--workdir" in said.out
    assert "loss.sigma_g=0.4" in said.out
    assert "configs/quick.py" in said.out
    assert not said.err


def test_help_may_be_cut_short():
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m sicjax.main --help | true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


CALL_EACH = """
import importlib, io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from sicjax.command import guarded

found = {}
for name in sys.argv[1:]:
    main = importlib.import_module(f"experiments.{name}").main
    for flag in ("--help", "--no_such_flag=1"):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = guarded(main, [flag])
        found[f"{name} {flag}"] = code, out.getvalue(), err.getvalue()
print(json.dumps(found))
"""


def test_every_experiment_has_help_and_refuses_unknown_flags():
    """Each runs in another process, because an experiment may set the environment at import."""
    done = subprocess.run(
        [sys.executable, "-c", CALL_EACH, *EXPERIMENTS],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 2 * len(EXPERIMENTS)
    for call, (code, out, error) in found.items():
        name, flag = call.split()
        if flag == "--help":
            assert (code, error) == (0, ""), call
            assert f"python -m experiments.{name}" in out
        else:
            assert (code, out, error.count("\n")) == (2, "", 1), call
            assert "--no_such_flag" in error or "required: --" in error


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--config=quick", "--config.model.num_unit=3"], "model.num_units"),
        (["--config=quick", "--config.model.num_units=many"], "model.num_units"),
        (["--config=quick", "--config.seed"], "--config.seed"),
        (["--config=quick", "--workdir"], "--workdir"),
        (["--config=quick", "--work=x"], "--work"),
        (["--config=quick", "quick"], "quick"),
        (["--config=nowhere"], "nowhere"),
        (["--workdir=x"], "--config"),
        ([], "--config"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_fields_are_set_in_either_form_and_the_last_counts():
    flags = ["--config", "quick", "--config.seed", "7", "--config.loss.sigma_g=0.5"]
    config, workdir = main.parse([*flags, "--config.seed=-0", "--config.seed=8"])
    assert (config.seed, config.loss.sigma_g, workdir) == (8, 0.5, Path("runs/quick"))
    config, workdir = main.parse(["--workdir=a=b", '--config.variants={"a": {}}', *flags])
    assert (dict(config.variants), workdir.name) == ({"a": {}}, "a=b")


def test_a_parser_reads_its_docstring():
    parser = Parser("What it does.\n\n    python -m that [--n=N]\n\nMore: 100 %.\n")
    parser.add_argument("--n", type=whole_number(1), default=1)
    assert parser.read(["--n=3"]).n == 3
    assert "What it does.\n\nMore: 100 %." in parser.format_help()
    with pytest.raises(ValueError, match=r"^--n: "):
        parser.read(["--n=0"])


def test_exit_codes():
    class FourError(Exception):
        exit_code = 4

    def fails(_):
        raise FourError("why")

    def stops(_):
        raise SystemExit(5)

    def is_wrong(_):
        raise RuntimeError("a bug")

    assert [guarded(command, []) for command in (fails, stops, print)] == [4, 5, 0]
    with pytest.raises(RuntimeError):
        guarded(is_wrong, [])


@pytest.mark.parametrize("name", [[], *([name] for name in SUBCOMMANDS)], ids=str)
def test_the_installed_command_has_help_everywhere(name, capsys):
    assert guarded(sicjax, [*name, "--help"]) == 0
    assert "usage: " in capsys.readouterr().out


def test_the_installed_command_without_a_subcommand_trains(monkeypatch):
    asked = []
    monkeypatch.setattr(main, "train", asked.append)
    for flags in (["--config=quick"], ["--workdir=x", "--config", "quick"]):
        assert guarded(sicjax, flags) == 0
        assert guarded(sicjax, ["train", *flags]) == 0
        assert asked[-2:] == [flags, flags]


def test_the_list_names_configs_and_networks(capsys):
    assert guarded(sicjax, ["list"]) == 0
    said = capsys.readouterr().out
    assert "configs/quick.py" in said
    assert "long_walks" in said


def test_a_network_of_a_run_is_exported(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert guarded(sicjax, ["export", str(finished), "--to=npz", "--network=1"]) == 0
    assert capsys.readouterr().out == "finished.npz\n"
    exported = load_weights("finished.npz")
    np.testing.assert_array_equal(exported.initial_state, load_run(finished, 1).initial_state)
    assert guarded(sicjax, ["export", str(finished), "--to=npz"]) == 2  # it exists
    assert guarded(sicjax, ["export", "quick", "--to=npz"]) == 0
    assert (tmp_path / "quick.npz").is_file()


def test_torch_is_asked_for_where_it_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert guarded(sicjax, ["export", "quick", "--to=torch"]) == 2
    assert "pip install torch" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_tensors_for_torch_are_the_weights(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    assert guarded(sicjax, ["export", "quick", "--to=torch"]) == 0
    tensors = torch.load("quick.pt")
    assert tensors["Dense_0.kernel"].shape[0] == 2


def test_reports_are_written_again(finished, monkeypatch):
    asked = []
    write = lambda runs, folder: asked.append(([run.network for run in runs], folder))  # noqa: E731
    monkeypatch.setattr(REPORTS, write)
    assert guarded(sicjax, ["report", str(finished)]) == 0
    assert guarded(sicjax, ["report", str(finished), "--network=1"]) == 0
    assert asked == [([0, 1], finished), ([1], finished)]


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["bake"], ["report"], ["report", "nowhere"], ["report", "{}", "--network=2"],
        ["export", "nowhere", "--to=npz"], ["export", "{}", "--to=jpg"], ["export", "{}"],
        ["list", "all"], ["--workdir=x"],
    ],
    ids=str,
)  # fmt: skip
def test_bad_subcommands_are_one_line(arguments, finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert guarded(sicjax, [text.format(finished) for text in arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())
