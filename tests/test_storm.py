"""A few of the harms of `python -m experiments.fault_storm`: damaged files of a run, and starts."""

import pytest

from tests import storm_starts
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


@pytest.mark.parametrize("number", range(len(storm_starts.SIZES + storm_starts.COUNTS)))
def test_a_size_beyond_any_machine_is_named(tmp_path, number):
    what, wrong = storm_starts.size(number, tmp_path)
    assert not wrong, what


@pytest.mark.parametrize("number", range(20))
def test_a_damaged_path_is_refused_or_as_it_was_written(tmp_path, number):
    what, wrong = storm_starts.path(number, tmp_path)
    assert not wrong, what


def test_a_refusal_is_told_from_others():
    assert not storm_starts.told(2, "sicjax: seed=-1: must be from 0\n", "seed")
    good = "sicjax: seed\n"
    for said in (2 * good, "Traceback\n" + good, "sicjax: rate\n", "seed\n", ""):
        assert storm_starts.told(2, said, "seed")
    assert storm_starts.told(0, good, "seed")
