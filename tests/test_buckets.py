"""Runs in a bucket, gs://..., served by an emulator on the loopback."""

import contextlib
import importlib.util
import io
import json
import threading

import jax
import numpy as np
import pytest

import sicjax
from experiments import evaluate
from sicjax.__main__ import sicjax as command
from sicjax.config.files import to_json
from sicjax.errors import ConfigError
from sicjax.main import guarded, main
from sicjax.paths import BucketPath, path
from sicjax.report import folder as report_folder
from sicjax.report import run_reports
from sicjax.training import bucket as bucket_module
from sicjax.training.checkpoint_files import latest_intact, steps
from tests.bucket import NAME

pytestmark = pytest.mark.skipif(
    # gcsfs reads the environment when it is imported, so not here.
    not all(importlib.util.find_spec(name) for name in ("gcsfs", "gcp_storage_emulator")),
    reason="needs gcsfs and gcp-storage-emulator",
)

RUN = f"gs://{NAME}/runs/first"


@pytest.fixture(scope="module")
def trained(bucket_or_none):
    """A run of two networks in the bucket, trained to step 4."""
    config = tiny()
    with contextlib.redirect_stdout(io.StringIO()):
        sicjax.train(config, RUN)
    return config


@pytest.fixture
def quick_owners(monkeypatch):
    monkeypatch.setattr(bucket_module, "REFRESH_S", 0.1)
    monkeypatch.setattr(bucket_module, "SILENT_S", 1.0)


def tiny(num_steps=4):
    config = sicjax.default_config()
    config.num_steps, config.log_every, config.checkpoint_every = num_steps, 2, 2
    config.num_networks, config.report, config.steps_per_dispatch = 2, False, 2
    config.data.num_trajectories, config.data.trajectory_length = 4, 6
    config.model.num_units, config.model.hidden_width = 8, 4
    config.optimizer.decay_steps = 8
    return config


def folder(text=RUN):
    return path("workdir", text, bucket=True)


def copy(bucket, name):
    """Copy the trained run."""
    for key, content in bucket.objects.items():
        if key.startswith("runs/first/"):
            bucket.put(key.replace("runs/first/", f"{name}/"), content)
    return f"gs://{NAME}/{name}"


def rows(content):
    found = [json.loads(line) for line in content.decode().splitlines()]
    return [{name: value for name, value in row.items() if name != "timing"} for row in found]


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_run_resumes_in_a_bucket_as_on_a_disk(bucket, trained, tmp_path, capsys):
    workdir, unbroken = copy(bucket, "resumed"), sicjax.train(tiny(8), tmp_path)
    bucket.put("resumed/notes.txt", b"the user's")
    run = sicjax.train(tiny(8), workdir)
    assert "resumed at step 4" in capsys.readouterr().out
    assert_trees_equal(run.parameters, unbroken.parameters)
    for here, there in zip(sicjax.load_runs(workdir), sicjax.load_runs(tmp_path), strict=True):
        assert_trees_equal(here.parameters, there.parameters)
    objects = bucket.objects
    assert rows(objects["resumed/metrics.jsonl"]) == rows((tmp_path / "metrics.jsonl").read_bytes())
    # Nothing is left of old checkpoints, nor of the owner; what a user wrote stays.
    below = {name.removeprefix("resumed/") for name in objects if name.startswith("resumed/")}
    there = {place.name for place in (tmp_path / "checkpoints").iterdir()}
    assert {name.split("/")[1] for name in below if "/" in name} == there
    events = {name for name in below if name.startswith("events.out")}
    assert len(events) == 2
    files = {name for name in below if "/" not in name}
    assert files == events | {"config.json", "metrics.jsonl", "notes.txt"}


def test_networks_are_loaded_from_a_bucket(trained, capsys):
    run = sicjax.load_run(RUN, network=1)
    assert (run.step, run.network, run.seed) == (4, 1, trained.seed + 1)
    assert_trees_equal(run.parameters, sicjax.load_runs(folder())[1].parameters)
    with pytest.raises(IndexError, match=f"{RUN} has networks 0 to 1"):
        sicjax.load_run(RUN, network=2)
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        sicjax.load_run(f"gs://{NAME}/elsewhere")


def test_training_starts_from_a_run_in_a_bucket(trained, capsys):
    config = tiny(2)
    config.start_from, config.optimizer.learning_rate = RUN, 1e-30
    run = sicjax.train(config)
    np.testing.assert_allclose(
        run.initial_state, sicjax.load_run(RUN).initial_state, rtol=1e-5, atol=1e-7
    )


def test_commands_take_a_bucket(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert guarded(command, ["list", f"gs://{NAME}/runs"]) == 0
    assert capsys.readouterr().out == f"{RUN}: 4 of 4 updates, 2 network(s)\n"
    assert guarded(command, ["export", RUN, "--to=npz", "--network=1"]) == 0
    exported = sicjax.load_weights(capsys.readouterr().out.strip())
    assert_trees_equal(exported.parameters, sicjax.load_run(RUN, 1).parameters)
    assert guarded(command, ["list", f"gs://{NAME}/nothing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_runs_in_a_folder_are_listed(tmp_path, capsys):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(to_json(tiny()))
    (tmp_path / "a" / "config.json").write_text("{")
    (tmp_path / "file").touch()
    assert guarded(command, ["list", str(tmp_path)]) == 0
    damaged, run = capsys.readouterr().out.splitlines()
    assert run == f"{tmp_path / 'b'}: 0 of 4 updates, 2 network(s)"
    assert damaged.startswith(f"{tmp_path / 'a' / 'config.json'}: can't be read")


def report_of(page):
    """Stand in for `write_report`: a report of one page, a figure, and a picture beside them."""

    def write(run, place, *, first, metrics, **_):
        first(b"picture")
        with report_folder.replacing(place) as new:
            (new / "report.html").write_text(page)
            (new / f"{page}.png").write_text(page)
            (new / "summary.json").write_text(str(len(metrics)))
        return place / "report.html"

    return write


def test_a_report_goes_up_whole_and_replaces_only_its_own(bucket, trained, monkeypatch, capsys):
    workdir = copy(bucket, "reported")
    monkeypatch.setattr(run_reports, "write_index", lambda place: place / "index.html")
    monkeypatch.setattr(run_reports, "write_report", report_of("before"))
    assert guarded(command, ["report", workdir, "--network=1"]) == 0
    place = "reported/report/network_001"
    said = capsys.readouterr().out
    assert f"report: gs://{NAME}/{place}/report.html\n" in said
    picture = "reported/report/first_picture_001.png"
    assert f"first picture: gs://{NAME}/{picture}\n" in said
    assert bucket.objects[picture] == b"picture"
    assert bucket.objects[f"{place}/summary.json"] == b"2"  # rows of this network
    bucket.put(f"{place}/mine.txt", b"the user's")
    monkeypatch.setattr(run_reports, "write_report", report_of("after"))
    first = len(bucket.writes)
    assert guarded(command, ["report", workdir, "--network=1"]) == 0
    names = {name.removeprefix(f"{place}/") for name in bucket.objects if place in name}
    assert names == {"report.html", "after.png", "summary.json", ".files.json", "mine.txt"}
    writes = [text for text in bucket.writes[first:] if "/network_001/" in text]
    assert "report.html" in writes[0]
    assert writes[0].startswith("DELETE")
    assert "report.html" in writes[-1]


@pytest.mark.slow  # the fast version: test_report.test_the_files_of_a_report_go_into_a_bucket
def test_a_whole_report_goes_into_a_bucket(bucket, trained, small_reports, capsys):
    """The pages, figures and tables of a real one, the first picture before the rest."""
    workdir = copy(bucket, "whole")
    run = sicjax.load_run(workdir)
    run.config.evaluation.recorded_path, run.config.evaluation.animations = "", False
    first = len(bucket.writes)
    run_reports.write_reports([run], folder(workdir))
    place = "whole/report/network_000"
    files = {name.removeprefix(f"{place}/"): content for name, content in bucket.objects.items()}
    assert json.loads(files["summary.json"])["step"] == 4
    assert files["report.html"].rstrip().endswith(b"</html>")
    assert {*json.loads(files[".files.json"])} <= {*files}
    assert files["whole/report/first_picture_000.png"].startswith(b"\x89PNG")
    written = [text for text in bucket.writes[first:] if "whole/report/" in text]
    assert "first_picture_000.png" in written[0]
    assert f"first picture: {workdir}/report/first_picture_000.png\n" in capsys.readouterr().out


def test_experiments_rebuild_reports_in_a_bucket(bucket, trained, monkeypatch, capsys):
    workdir = copy(bucket, "rebuilt")
    monkeypatch.setattr(run_reports, "write_report", report_of("page"))
    assert guarded(evaluate.main, [f"--workdir={workdir}", "--network=0"]) == 0
    assert "rebuilt/report/network_000/report.html" in bucket.objects


def test_reports_that_are_left_go_on_in_a_bucket(bucket, trained, monkeypatch, capsys):
    workdir, written = copy(bucket, "left"), []

    def write(run, place, **given):
        written.append(run.network)
        if written == [0, 1]:
            raise OSError(5, "the disk is tired")
        return report_of("page")(run, place, **given)

    monkeypatch.setattr(run_reports, "write_report", write)
    monkeypatch.setattr(run_reports, "write_index", lambda place: place / "index.html")
    config = tiny()
    config.report, config.evaluation.recorded_path = True, ""
    with pytest.raises(ConfigError, match="the disk is tired"):
        sicjax.train(config, workdir)
    assert "left/report/.pending.json" in bucket.objects
    sicjax.train(config, workdir)
    assert written == [0, 1, 1]
    assert "left/report/.pending.json" not in bucket.objects
    assert "left/report/network_001/report.html" in bucket.objects


def test_snapshots_are_kept_in_a_bucket_and_cut(bucket, monkeypatch, capsys):
    config, workdir = tiny(), f"gs://{NAME}/looked"
    config.evaluation.snapshot_every = 2
    bucket.put("looked/snapshots/network_000/000000009.npz", b"of a run that was killed")
    sicjax.train(config, workdir)
    names = {name for name in bucket.objects if name.startswith("looked/snapshots/network_000/")}
    assert {name[-6:] for name in names} == {"02.npz", "04.npz"}


def test_a_damaged_checkpoint_is_named_and_set_aside(bucket, trained, capsys):
    config = tiny(6)
    config.keep_checkpoints = 2
    workdir = copy(bucket, "damaged")
    sicjax.train(config, workdir)
    name = next(n for n in bucket.objects if n.startswith("damaged/checkpoints/6/state/d/"))
    bucket.put(name, bucket.objects[name][:-1] + b"?")
    checkpoints = folder(workdir) / "checkpoints"
    assert steps(checkpoints) == [6, 4]
    assert latest_intact(checkpoints)[0] == 4
    capsys.readouterr()
    assert sicjax.load_run(workdir).step == 4
    assert "checkpoint of update 6 is damaged" in capsys.readouterr().err
    sicjax.train(config, workdir)
    said = capsys.readouterr().out
    assert f"moved to gs://{NAME}/damaged/damaged/6; going back to update 4" in said
    assert latest_intact(checkpoints) == (6, {})
    assert "damaged/damaged/6/sha256.json" in bucket.objects


def test_a_checkpoint_counts_from_its_commit_on(bucket, trained, capsys):
    workdir = copy(bucket, "uncommitted")
    bucket.put("uncommitted/checkpoints/4/commit_success.txt", None)
    assert steps(folder(workdir) / "checkpoints") == [2]
    sicjax.train(tiny(), workdir)  # over the files that remain of it
    assert "resumed at step 2" in capsys.readouterr().out
    assert_trees_equal(sicjax.load_run(workdir).parameters, sicjax.load_run(RUN).parameters)


def test_a_removal_that_was_cut_short_is_ended_in_a_finished_run(bucket, trained, capsys):
    workdir = copy(bucket, "half")
    bucket.put("half/checkpoints/2/commit_success.txt", None)
    sicjax.train(trained, workdir)
    assert {name.split("/")[2] for name in bucket.objects if "half/checkpoints/" in name} == {"4"}


def test_a_second_run_is_refused_while_the_first_is_alive(bucket, trained, quick_owners, capsys):
    workdir = copy(bucket, "owned")
    with (
        bucket_module.owned(folder(workdir)),
        pytest.raises(ConfigError, match="another run is using it \\(process "),
    ):
        sicjax.train(tiny(), workdir)
    assert "owned/.holder" not in bucket.objects


def test_the_owner_that_was_killed_is_replaced(bucket, trained, quick_owners, capsys):
    bucket.put("orphan/.holder", b"process 1 on elsewhere (00000000)\n0\n")
    sicjax.train(tiny(2), f"gs://{NAME}/orphan")
    said = capsys.readouterr().out.splitlines()[0]
    assert "held by process 1 on elsewhere" in said
    assert "orphan/.holder" not in bucket.objects


def test_of_many_who_wait_for_a_dead_owner_one_gets_it(bucket, quick_owners, capsys):
    bucket.put("wanted/.holder", b"process 1 on elsewhere (00000000)\n0\n")
    got, ended = [], threading.Event()

    def want():
        with contextlib.suppress(ConfigError), bucket_module.owned(folder(f"gs://{NAME}/wanted")):
            got.append(1)
            ended.wait(10)

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4)
    ended.set()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_who_was_taken_for_dead_stops_at_the_next_save(bucket, quick_owners, capsys):
    workdir = f"gs://{NAME}/lost"

    def look(self, *_):
        bucket.put("lost/.holder", b"process 1 on elsewhere (00000000)\n0\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sicjax.training.metrics.Monitor.log", look)
        with pytest.raises(ConfigError, match=r"process 1 on elsewhere .* has taken it over"):
            sicjax.train(tiny(), workdir)
    assert not [name for name in bucket.objects if name.startswith("lost/checkpoints/")]
    assert bucket.objects["lost/.holder"].startswith(b"process 1 on elsewhere")


@pytest.mark.parametrize("workdir", ["gs://no-such-bucket/run", RUN])
def test_a_bucket_that_cannot_be_used_is_one_line(workdir, bucket, tmp_path, monkeypatch, capsys):
    """It doesn't exist, or gives no permission."""
    monkeypatch.setattr(bucket, "forbidden", workdir == RUN)
    monkeypatch.chdir(tmp_path)
    assert main(["--config=quick", f"--workdir={workdir}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sicjax: workdir={workdir}: ")
    assert said.count("\n") == 1
    assert guarded(command, ["report", workdir]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_gcsfs_one_line_says_how_to_install_it(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "gcsfs" else find(name, *a)
    )
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[gcs\]'"):
        sicjax.train(tiny(), RUN)


@pytest.mark.parametrize(
    "text", ["gs://b", "gs://bucket", "gs://bucket/", "gs:///x", "gs://bucket/a/../b", "gs://B/x",
             "gs://bucket/a[1]", "gs://bucket/a*", "gs://bucket//x", "gs://bucket/a b"],
)  # fmt: skip
def test_what_is_no_folder_of_a_bucket_is_one_line(text):
    with pytest.raises(ConfigError, match=r"^workdir=gs:/") as error:
        path("workdir", text, bucket=True)
    assert "\n" not in str(error.value)


def test_a_path_in_a_bucket_is_like_a_path(bucket):
    place = folder(f"gs://{NAME}/paths")
    assert isinstance(place / "a", BucketPath)
    assert str((place / "a" / "b").parent) == f"gs://{NAME}/paths/a"
    assert str((place / "a" / "b").relative_to(place)) == "a/b"
    (place / "a" / "b").write_text("1")
    (place / "ab").write_bytes(b"2")
    assert place.is_dir()
    assert not place.is_file()
    assert not (place / "a").is_file()
    assert [child.name for child in place.iterdir()] == ["a", "ab"]
    (place / "a").rename(place / "c")
    assert bucket.objects["paths/c/b"] == b"1"
    (place / "c").rmtree()
    assert [child.name for child in place.iterdir()] == ["ab"]
    with pytest.raises(FileNotFoundError):
        (place / "c" / "b").read_bytes()
    with pytest.raises(OSError, match="no such bucket"):
        folder("gs://no-such-bucket/x").write_bytes(b"1")
