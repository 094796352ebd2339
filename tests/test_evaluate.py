"""The command that writes reports again reads its flags, and reports errors in one line."""

import pytest

from experiments import evaluate
from sicjax.command import guarded
from sicjax.report import run_reports


@pytest.fixture
def written(monkeypatch):
    """The arguments of `write_report` and `write_index`, which are not run."""
    asked = []

    def write_report(run, folder, **given):
        folder.mkdir(parents=True, exist_ok=True)
        asked.append((run.network, run.step, given["torus_rolls"], len(given["metrics"])))
        return folder / "report.html"

    monkeypatch.setattr(run_reports, "write_report", write_report)
    monkeypatch.setattr(run_reports, "write_index", lambda folder: asked.append(folder.name))
    return asked


def test_all_networks_are_reported_anew(finished, written):
    assert guarded(evaluate.main, [f"--workdir={finished}", "--torus_rolls=20"]) == 0
    assert written == [(0, 6, 20, 3), (1, 6, 20, 3), "report"]


def test_one_network_is_reported_anew(finished, written):
    assert guarded(evaluate.main, [f"--workdir={finished}", "--network=1"]) == 0
    assert written[0] == (1, 6, -1, 3)  # as its config has it


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--workdir=nowhere"], "nowhere"),
        (["--workdir={}", "--network=2"], "networks 0 to 1"),
        (["--workdir={}", "--network=-1"], "--network"),
        (["--workdir={}", "--torus_rolls=some"], "evaluation.torus_rolls=some"),
        (["--workdir={}", "--torus_rolls=-2"], "evaluation.torus_rolls=-2"),
        (["--workdir={}", "--rolls=1"], "--rolls"),
        (["--workdir"], "--workdir"),
        ([], "--workdir"),
    ],
)
def test_bad_input_is_one_line(finished, written, capsys, flags, says):
    assert guarded(evaluate.main, [flag.format(finished) for flag in flags]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not written
