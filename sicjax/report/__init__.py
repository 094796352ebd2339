"""From a trained network to its report: evaluate, summary, figures, page, index, snapshots."""

import sicjax.plots.no_backend  # noqa: F401 -- before any module here imports matplotlib
