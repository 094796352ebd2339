"""The clearest cells of each module: which they are, and what is drawn of them."""

import numpy as np
import pytest
from matplotlib.text import Text

from experiments import clearest
from sicjax.analysis.synthetic import hexagonal_basis, lattice_map
from sicjax.errors import ConfigError


def test_a_row_holds_the_clearest_cells_of_a_module_in_order():
    """Two lattices of twelve cells, each cell under more noise than the one before it."""
    rng = np.random.default_rng(0)
    maps = []
    for period in (0.5, 0.9):
        for k in range(12):
            clean = lattice_map(
                hexagonal_basis(period, 10), box_m=3.0, bins=75, phase=rng.random(2)
            )
            noise = 0.03 * k * np.ptp(clean) * rng.standard_normal(clean.shape)
            maps.append(np.maximum(clean + noise, 0))
    figure = clearest.draw(np.stack(maps), 3.0, 5)
    said = [text.get_text() for text in figure.findobj(Text)]
    units = [text.split() for text in said if " g " in text and text.startswith("u")]
    numbers, scores = [int(u[1:]) for u, _, _ in units], [float(score) for _, _, score in units]
    assert len(numbers) == 10
    assert max(numbers[:5]) < 12 <= min(numbers[5:])
    for row in (scores[:5], scores[5:]):
        assert row == sorted(row, reverse=True)
    for period in ("0.50", "0.90"):
        assert f"12 grid cells of period {period} m: the 5 clearest" in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--network=nobody"], "network"),
        (["--workdir=nowhere"], "--workdir="),
        (["--cells=0"], "--cells: '0'"),
        (["--cells=many"], "--cells: 'many'"),
        (["--rows=2"], "--rows"),
    ],
)
def test_bad_input_is_named(flags, message):
    with pytest.raises(ConfigError, match=message):
        clearest.main(flags)
