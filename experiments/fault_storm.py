"""Kill, fill, flip, remove: whether a run survives it, with every bit of its result.

    python -m experiments.fault_storm [--kills=50] [--terminations=20] [--doubles=20]
        [--report_kills=5] [--folder=DIR] [--only=NAME,...]

Trains a tiny population again and again as a user would, does each harm to it, starts the same
command again, and compares the end with an uninterrupted run. Prints a table. The harms stand with
the tests, in tests/fault_storm.py.
"""

import sys

from sicjax.main import guarded, leave
from tests.fault_storm import main

if __name__ == "__main__":
    leave(guarded(main, sys.argv[1:]))
