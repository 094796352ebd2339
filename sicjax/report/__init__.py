"""Reports: what is measured on networks and on other activity, written for people to read."""

import sicjax.plots.no_backend  # noqa: F401 -- before any module here imports matplotlib
