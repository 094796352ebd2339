"""When packages are imported: a name loads what it needs, --help and flag errors almost nothing."""

import subprocess
import sys

import pytest

import sicjax
from tests import tiny

HEAVY = ("jax", "flax", "optax", "orbax", "matplotlib", "sklearn", "scipy", "ripser", "jinja2")


def loaded_by(code):
    """Return the heavy packages that a fresh interpreter has loaded after some code."""
    listed = (
        f"import sys; {code}; print(*(n for n in {HEAVY} if n in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (
            "import sicjax; from sicjax.main import main; main(['--config=quick', '--help']);"
            " main(['--config=none.py', '--x=1'])",
            set(),
        ),
        ("import sicjax; sicjax.norm_relu; sicjax.separation_loss", {"jax", "flax"}),
    ],
)
def test_what_is_loaded(code, wanted):
    # jax itself brings what of scipy it needs.
    assert loaded_by(code) - {"scipy"} <= wanted


def test_every_public_name_is_there_and_no_other():
    for name in sicjax.__all__:
        assert getattr(sicjax, name) is not None
        assert name in dir(sicjax)
    with pytest.raises(AttributeError, match="no attribute 'tain'"):
        sicjax.tain  # noqa: B018


def test_training_without_a_report_loads_nothing_that_scores_or_draws(tmp_path):
    code = (
        f"import sicjax; c = sicjax.load_config({str(tiny.PATH)!r}); c.num_steps = 1;"
        f" sicjax.train(c, {str(tmp_path / 'run')!r})"
    )
    assert not loaded_by(code) & {"matplotlib", "sklearn", "ripser", "jinja2"}
