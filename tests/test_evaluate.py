"""The command that rebuilds reports reads its flags, and says in one line what is wrong."""

import pytest

import sicjax
from experiments import evaluate
from sicjax.command import guarded
from sicjax.report import run_reports


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pair"
    config = sicjax.default_config()
    config.num_networks, config.num_steps, config.report = 2, 1, False
    config.data.num_trajectories, config.data.trajectory_length = 3, 4
    config.model.num_units, config.model.hidden_width = 6, 3
    sicjax.train(config, folder)
    return folder


@pytest.fixture
def written(monkeypatch):
    """What `write_report` and `write_index` are asked for, without their minutes."""
    asked = []

    def write_report(run, folder, **given):
        folder.mkdir(parents=True, exist_ok=True)
        asked.append((run.network, run.step, given["torus_rolls"], len(given["metrics"])))
        return folder / "report.html"

    monkeypatch.setattr(run_reports, "write_report", write_report)
    monkeypatch.setattr(run_reports, "write_index", lambda folder: asked.append(folder.name))
    return asked


def test_all_networks_are_reported_anew(workdir, written):
    assert guarded(evaluate.main, [f"--workdir={workdir}", "--torus_rolls=20"]) == 0
    assert written == [(0, 1, 20, 1), (1, 1, 20, 1), "report"]


def test_one_network_is_reported_anew(workdir, written):
    assert guarded(evaluate.main, [f"--workdir={workdir}", "--network=1"]) == 0
    assert written[0] == (1, 1, -1, 1)  # as its config has it


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
def test_bad_input_is_one_line(workdir, written, capsys, flags, says):
    assert guarded(evaluate.main, [flag.format(workdir) for flag in flags]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not written
