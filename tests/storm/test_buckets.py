"""A run in a bucket is killed at its requests, and resumes exactly."""

import importlib.util

import pytest

from tests.bucket import Bucket
from tests.storm.buckets import Runs, kills

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("gcsfs", "gcp_storage_emulator")),
    reason="needs gcsfs and gcp-storage-emulator",
)


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_request_resumes_exactly(tmp_path):
    """Twenty kills, spread evenly over all requests that write."""
    with Bucket().serving() as bucket:
        runs = Runs(bucket, tmp_path)
        try:
            cases = list(kills(runs, 20))
        finally:
            runs.close()
    for case in cases:
        print(case.request, "->", case.problem or "equal")
    assert not [case for case in cases if case.problem]
