"""A few of the harms of `python -m experiments.fault_storm`; the slow ones only with -m slow.

The fast versions of damage: test_checkpoint, test_monitor, test_workdir and test_loop.
"""

import pytest

from tests.storm import starts
from tests.storm.damage import Damaged, files, kind


def few(cases, fast):
    """Return cases; some run by default, all with -m slow."""
    return [case if case in fast else pytest.param(case, marks=pytest.mark.slow) for case in cases]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    return Damaged(tmp_path_factory.mktemp("damaged"))


@pytest.mark.slow
def test_every_kind_of_file_is_damaged(damaged):
    assert {kind(path, damaged.template) for path in files(damaged.template)} == {
        "checkpoints", "config.json", "events", "method.json", "metrics.jsonl",
        "report: .pending.json", "report: report.html", "snapshots",
    }  # fmt: skip


# Damage that was once accepted: a flipped digit, swapped digits, a list for a table. Then others.
@pytest.mark.slow
@pytest.mark.parametrize("number", [84, 124, 125, *range(10)])
def test_a_damaged_folder_gives_the_right_result_or_one_line(damaged, number):
    what, wrong, _ = damaged.case(number)
    assert not wrong, what


@pytest.mark.parametrize("number", few(range(len(starts.SIZES + starts.COUNTS)), {0, 6}))
def test_a_size_beyond_any_machine_is_named(tmp_path, number):
    what, wrong = starts.size(number, tmp_path)
    assert not wrong, what


@pytest.mark.parametrize("number", few(range(20), {0, 1, 2, 3}))
def test_a_damaged_path_is_refused_or_as_it_was_written(tmp_path, number):
    what, wrong = starts.path(number, tmp_path)
    assert not wrong, what


def test_a_refusal_is_told_from_others():
    assert not starts.told(2, "sicjax: seed=-1: must be from 0\n", "seed")
    good = "sicjax: seed\n"
    for said in (2 * good, "Traceback\n" + good, "sicjax: rate\n", "seed\n", ""):
        assert starts.told(2, said, "seed")
    assert starts.told(0, good, "seed")
