"""The README's claim: `configs/quick.py` grows two modules of grid cells."""

import jax
import pytest

import sicjax


@pytest.mark.slow
def test_quick_finds_two_modules(tmp_path):
    """Training takes a minute or more; the tiny networks of other tests grow no grid cells.

    All of 16 seeds had modules at 0.49 to 0.52 m and 0.85 to 0.89 m.
    """
    config = sicjax.load_config("quick")
    config.report = False
    run = sicjax.train(config, tmp_path / "quick")
    maps = run.ratemaps(box_m=3.0)
    units = sicjax.analyze_ratemaps(maps.ratemaps, 3.0, num_shuffles=20, key=jax.random.key(0))
    modules = sicjax.find_modules(units)
    assert len(modules.period_m) == 2
    assert 1.6 < modules.ratios[0] < 1.85
