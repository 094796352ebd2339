"""Conformal isometry: which steps count, and the effect of the shortest on its expectation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sicjax
from sicjax.config import default
from sicjax.network.losses import neural_speeds, sic_loss
from sicjax.training.step import make_settings
from tests import reference
from tests.test_losses import make

pytestmark = pytest.mark.usefixtures("strict_types")


def test_a_step_as_long_as_min_step_does_not_count():
    """Lengths and speeds are powers of two, so that nothing is rounded."""
    steps = jnp.zeros((1, 4, 2)).at[0, :, 0].set(jnp.array([0.125, 0.25, 0.5, 1.0]))
    states = jnp.cumsum(jnp.array([[[1.0], [1.0], [0.5], [4.0]]]), axis=1)  # speeds 8, 4, 1, 4
    loss = partial(sicjax.conformal_isometry_loss, states, jnp.zeros(1), steps)
    assert loss(max_step=2.0) == np.var([8, 4, 1, 4])
    assert loss(max_step=2.0, min_step=0.125) == np.var([4, 1, 4])
    assert loss(max_step=1.0, min_step=0.125) == np.var([4, 1])
    assert loss(max_step=0.5, min_step=0.25) == 0
    speeds, counted = neural_speeds(states, jnp.zeros(1), steps, max_step=1.0, min_step=0.125)
    np.testing.assert_array_equal(speeds, [[0, 4, 1, 0]])
    np.testing.assert_array_equal(counted, [[False, True, True, False]])


def test_the_whole_loss_takes_the_steps_above_min_step():
    states, batch, start = make()
    settings = make_settings(default()).loss._replace(min_step=0.03, sigma_x=0.12)
    _, terms = jax.jit(sic_loss)(states, start, batch, settings)
    expected = reference.conformal_isometry(states, start, batch.steps, 0.12, 0.03)
    assert terms.conformal_isometry == pytest.approx(expected, rel=1e-5)  # float32, 100 steps
    every = reference.conformal_isometry(states, start, batch.steps, 0.12)
    assert abs(every / expected - 1) > 0.1


class EvenSteps:
    """Steps that fill the disc |v| < b evenly, and states that each step moves by (c, k v).

    The offset c is the same for steps of any length, so the speed of a step of length r is
    sqrt(c^2 / r^2 + k^2). In a ring a < r < b the density of r is 2 r / (b^2 - a^2).
    """

    b, c, k = 0.05, 0.01, 3.0

    def loss(self, number, min_step=0.0):
        """Conformal isometry of n steps, at the middles of n rings of equal area in |v| < b."""
        length = self.b * np.sqrt((np.arange(number) + 0.5) / number)
        angle = np.arange(number)  # any
        steps = length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        moved = np.concatenate([np.full((number, 1), self.c), self.k * steps], axis=1)
        states = np.cumsum(moved, axis=0)
        return float(
            sicjax.conformal_isometry_loss(
                states[None], np.zeros(3), steps[None], max_step=self.b, min_step=min_step
            )
        )

    def variance(self, a):
        """Return E[speed^2] - E[speed]^2 in closed form, with E[1/r^2] of a ring."""
        area = self.b**2 - a**2
        square = self.c**2 * 2 * np.log(self.b / a) / area + self.k**2

        def integral(r):  # of sqrt(c^2 + k^2 r^2)
            root = np.sqrt(self.c**2 + (self.k * r) ** 2)
            return r * root / 2 + self.c**2 / (2 * self.k) * np.arcsinh(self.k * r / self.c)

        return square - (2 / area * (integral(self.b) - integral(a))) ** 2


def test_conformal_isometry_of_ever_shorter_steps_diverges(x64):
    """Down to |v| = 0, ten times as many steps add c^2 ln(10) / b^2: the mean has no limit."""
    even = EvenSteps()
    losses = [even.loss(number) for number in (10**3, 10**4, 10**5, 10**6)]
    growth = even.c**2 * np.log(10) / even.b**2
    # The square of the mean, which converges, still moves by 1 / sqrt(n) of itself.
    np.testing.assert_allclose(np.diff(losses), growth, rtol=0.2)
    np.testing.assert_allclose(losses[3] - losses[2], growth, rtol=0.02)


@pytest.mark.parametrize("a", [0.02, 0.002])
def test_conformal_isometry_above_min_step_is_its_closed_form(x64, a):
    """The mean is finite for any number of steps, even if the shortest are very short."""
    even = EvenSteps()
    losses = [even.loss(number, min_step=a) for number in (10**5, 10**6)]
    # Of 1e5 rings 160 lie below 0.002; which of two is the first to count moves the sum by 1e-3.
    np.testing.assert_allclose(losses, even.variance(a), rtol=5e-3)
