"""Figures: arrays in, matplotlib out. Functions only draw; they save no files.

Letters: N units; K units shown; y, x bins of a map; S samples of a path. Lengths in metres, angles
in degrees. Functions that draw one panel take `ax=`; those that lay out several take `fig=`, whose
size they set. Both return the axes or the figure, and open a pyplot figure if they get none.
Figures use sicjax's own matplotlib settings; your settings have no effect on them and do not
change.

Source: ours; the style follows the paper and its field.

Example:
    >>> import sicjax
    >>> maps = sicjax.load_pretrained("quick").ratemaps(box_m=0.4)
    >>> figure = sicjax.plots.ratemap_sheet(maps.ratemaps[:24], maps.box_m)
    >>> figure.savefig("maps.png")
"""

# This one comes first: it imports matplotlib where the environment names an unknown backend.
import sicjax.plots.no_backend  # noqa: F401
from sicjax.plots.curves import (
    against_steps,
    by_setting,
    compared,
    losses,
    null_distributions,
    permuted_batch,
    phase_diagram,
    score_against_null,
    score_histogram,
    tails,
)
from sicjax.plots.dynamics import (
    attractor_return,
    attractor_shift,
    conformality,
    distance_map,
    jacobian_gains,
    neural_distance,
    noise_drift,
)
from sicjax.plots.maps import (
    autocorrelogram_sheet,
    film_strip,
    generalisation,
    named_rows,
    ratemap_sheet,
    recorded_path,
)
from sicjax.plots.modules import (
    fourier_power,
    module_coupling,
    module_drift,
    module_relation,
    period_histogram,
    period_orientation,
    periods_against_range,
    phase_tiling,
    torus,
    units_per_index,
)
from sicjax.plots.motion import formation, on_torus, walking
from sicjax.plots.style import (
    CMAP,
    COLOURS,
    CORRELATION_CMAP,
    FAINT,
    INK,
    NEUTRAL,
    NO_GROUP,
    TILE_INCHES,
    UNVISITED,
    Figure,
    as_picture,
    blank_figure,
    dress,
    last_picture,
)

__all__ = [
    "CMAP",
    "COLOURS",
    "CORRELATION_CMAP",
    "FAINT",
    "INK",
    "NEUTRAL",
    "NO_GROUP",
    "TILE_INCHES",
    "UNVISITED",
    "Figure",
    "against_steps",
    "as_picture",
    "attractor_return",
    "attractor_shift",
    "autocorrelogram_sheet",
    "blank_figure",
    "by_setting",
    "compared",
    "conformality",
    "distance_map",
    "dress",
    "film_strip",
    "formation",
    "fourier_power",
    "generalisation",
    "jacobian_gains",
    "last_picture",
    "losses",
    "module_coupling",
    "module_drift",
    "module_relation",
    "named_rows",
    "neural_distance",
    "noise_drift",
    "null_distributions",
    "on_torus",
    "period_histogram",
    "period_orientation",
    "periods_against_range",
    "permuted_batch",
    "phase_diagram",
    "phase_tiling",
    "ratemap_sheet",
    "recorded_path",
    "score_against_null",
    "score_histogram",
    "tails",
    "torus",
    "units_per_index",
    "walking",
]
