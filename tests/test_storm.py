"""A few of the harms of `python -m experiments.fault_storm`: damaged files of a run."""

import pytest

from tests.storm_damage import Damaged, files, kind


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    return Damaged(tmp_path_factory.mktemp("damaged"))


def test_every_kind_of_file_is_damaged(damaged):
    assert {kind(path, damaged.template) for path in files(damaged.template)} == {
        "checkpoints", "config.json", "events", "method.json", "metrics.jsonl",
        "report: .pending.json", "report: report.html", "snapshots",
    }  # fmt: skip


# What was believed once: a flipped digit, two swapped ones, a list for a table. Then some of each.
@pytest.mark.parametrize("number", [84, 124, 125, *range(10)])
def test_a_damaged_folder_gives_the_right_result_or_one_line(damaged, number):
    what, wrong, _ = damaged.case(number)
    assert not wrong, what
