"""Import matplotlib even if the variable MPLBACKEND names a backend that does not exist.

Matplotlib then fails at import. Figures in reports and files need no backend, so a misspelt name
must not stop a training that has already run for hours.
"""

import contextlib
import os
import sys

if "matplotlib" not in sys.modules:
    _chosen = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if _chosen is not None:  # the environment is restored, and a valid choice is respected
        os.environ["MPLBACKEND"] = _chosen
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = _chosen
