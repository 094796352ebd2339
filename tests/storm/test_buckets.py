"""A run in a bucket is killed at its requests, and resumes exactly."""

import pytest

from tests.bucket import NAME
from tests.storm.buckets import Runs, difference, kills, outcome
from tests.storm.test_processes import Group

pytestmark = pytest.mark.slow


def test_a_run_that_is_killed_at_any_request_resumes_exactly(tmp_path, bucket):
    """Twenty kills, spread evenly over all requests that write."""
    runs = Runs(bucket, tmp_path)
    try:
        cases = list(kills(runs, 20))
    finally:
        runs.close()
    for case in cases:
        print(case.request, "->", case.problem or "equal")
    assert not [case for case in cases if case.problem]


def two(folder, name):
    folder.mkdir()
    return Group(folder, workdirs=dict.fromkeys((0, 1), f"gs://{NAME}/{name}"))


def test_two_processes_train_in_one_bucket_and_resume_after_a_kill(tmp_path, bucket):
    """Each of them is killed, while both save; then both are started again."""
    bucket.writes.clear()
    assert two(tmp_path / "unbroken", "two_unbroken").end() == [0, 0]
    wanted, requests = outcome(bucket, "two_unbroken", tmp_path), len(bucket.writes)
    for killed in (0, 1):
        name = f"two_killed_{killed}"
        bucket.writes.clear()
        group = two(tmp_path / f"first_{killed}", name)
        bucket.victim, bucket.kill_at = group.processes[killed].pid, int(0.6 * requests)
        codes = group.end()
        bucket.kill_at = 0
        assert codes[killed] == -9
        assert codes[1 - killed] not in (0, 2)
        again = two(tmp_path / f"again_{killed}", name)
        assert again.end() == [0, 0], again.said(0)
        assert "resumed at step" in again.said(0)
        assert not difference(wanted, outcome(bucket, name, tmp_path))
