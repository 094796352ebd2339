"""A torus that corrects errors, a network that keeps everything and one that forgets everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sicjax.analysis import attractor
from sicjax.analysis.attractor import AMPLITUDES, STEPS, measure_attractor, measure_gains
from sicjax.analysis.manifold import fit_manifold, locate, rectified, shift_between
from sicjax.network.model import norm_relu

CONTRACTION = 0.7  # per step, of the synthetic torus and of the point
PERIOD_M = 1.0
PHASES = 2 * np.pi * np.stack(np.meshgrid(*[np.arange(6) / 6] * 2), axis=-1).reshape(-1, 2)
UNITS = len(PHASES)
SPEED = 2 * np.pi / PERIOD_M / np.sqrt(10)  # |dg/dx| of `code`, 1/m, in any direction
STATES, REFERENCES = 60, 1000
KEY = jax.random.key(0)


def code(positions):
    """Positive unit states [..., 36] on a torus: one wave along x, one along y."""
    turns = 2 * np.pi / PERIOD_M * positions[..., None, :] - PHASES
    return (2 + np.cos(turns).sum(axis=-1)) / np.sqrt(5 * UNITS)


def read(states):
    """Return the places [..., 2] that the waves of states encode."""
    waves = np.einsum("...n,nd->...d", states, np.exp(1j * PHASES))
    return np.angle(waves) / (2 * np.pi) * PERIOD_M


def torus(states, velocities):
    """Move along the torus, and contract displacements off it."""
    place = read(states)
    return code(place + velocities) + CONTRACTION * (states - code(place))


def keep(states, velocities):
    return states


def forget(states, velocities):
    point = code(np.zeros(2))
    return point + CONTRACTION * (states - point)


@pytest.fixture(scope="module")
def samples():
    """Positions [S, 2], reference positions [R, 2], velocities [S, T, 2]."""
    rng = np.random.default_rng(0)
    positions = rng.uniform(-0.5, 0.5, (STATES, 2))
    reference = rng.uniform(-0.7, 0.7, (REFERENCES, 2))  # every place and its neighbourhood
    return positions, reference, rng.normal(0, 0.05, (STATES, STEPS[-1], 2))


@pytest.fixture(scope="module")
def manifold(samples):
    return fit_manifold(code(samples[1]), samples[1])


def measure(step, samples):
    positions, reference, walks = samples
    return measure_attractor(step, code(positions), code(reference), reference, walks, key=KEY)


@pytest.fixture(scope="module")
def on_torus(samples):
    return measure(torus, samples)


@pytest.fixture(scope="module")
def kept(samples):
    return measure(keep, samples)


@pytest.fixture(scope="module")
def forgotten(samples):
    return measure(forget, samples)


def test_states_are_rectified_as_the_network_does():
    states = np.random.default_rng(0).standard_normal((3, 5, 7))
    states[0, 0], states[1, 1, 2] = -1, np.nan
    # Either way sums 7 squares and divides by the root, in float32: some ten roundings of 6e-8.
    wanted = norm_relu(jnp.asarray(states, jnp.float32))
    np.testing.assert_allclose(rectified(states), wanted, rtol=2e-6)


def test_distances_and_places_are_read_from_the_tangent_planes(manifold, samples):
    states = code(samples[0]).astype(np.float32)
    distance, place = locate(manifold, states, samples[0])
    assert np.median(distance) < 0.003  # curvature over half the 4 cm between reference states
    assert distance.max() < 0.03  # over the widest gap
    assert np.linalg.norm(place - samples[0], axis=1).max() < 0.02
    off = np.random.default_rng(1).standard_normal(states.shape)
    for tangent in _exact_tangents(samples[0]):
        off -= (off * tangent).sum(axis=1, keepdims=True) * tangent
    off *= 0.1 / np.linalg.norm(off, axis=1, keepdims=True)
    np.testing.assert_allclose(locate(manifold, states + off)[0], 0.1, atol=0.02)
    moved = code(samples[0] + [0.1, -0.05]).astype(np.float32)
    shift = shift_between(manifold, states, moved)
    np.testing.assert_allclose(shift, np.broadcast_to([0.1, -0.05], shift.shape), atol=0.02)


def _exact_tangents(positions, size=1e-4):
    for step in size * np.eye(2):
        tangent = code(positions + step) - code(positions - step)
        yield tangent / np.linalg.norm(tangent, axis=1, keepdims=True)


def test_a_torus_fills_two_dimensions(manifold):
    assert manifold.tangent_share > 0.95  # what curvature takes over 24 neighbours
    np.testing.assert_allclose(
        manifold.tangents @ manifold.tangents.swapaxes(1, 2),
        np.broadcast_to(np.eye(2), (REFERENCES, 2, 2)),
        atol=1e-4,
    )


@pytest.mark.parametrize("kind", ["across", "across_walking"])
def test_off_the_torus_states_return_at_the_known_rate(on_torus, kind):
    found = getattr(on_torus, kind)
    start = found.distance[:, 0]
    np.testing.assert_allclose(start[:3], AMPLITUDES[:3], rtol=0.15)  # little is rectified away
    expected = start[:, None] * CONTRACTION ** np.array(STEPS)
    # Distances this far above the floor of curvature (0.005) are known to a tenth.
    known = expected > 0.02
    np.testing.assert_allclose(found.distance[known], expected[known], rtol=0.1)
    steps = np.log(0.02 / start) / np.log(CONTRACTION)
    assert (np.abs(found.returned - np.ceil(steps)) <= 1).all()
    assert found.shift_m[:3].max() < 0.01  # rectifying a large push moves it along, too


@pytest.mark.parametrize("kind", ["along", "along_walking"])
def test_along_the_torus_nothing_is_corrected(on_torus, kind):
    found = getattr(on_torus, kind)
    assert found.distance[:3].max() < 0.02  # chords are short of arcs
    np.testing.assert_allclose(found.from_twin[:3, -1], AMPLITUDES[:3], rtol=0.1)
    expected = np.array(AMPLITUDES[:3]) / SPEED
    np.testing.assert_allclose(found.shift_m[:3, -1], expected, rtol=0.1, atol=0.005)


def test_of_a_shift_along_the_torus_all_is_left_and_of_a_forgotten_one_nothing(on_torus, forgotten):
    for found in (on_torus.along, on_torus.along_walking):
        np.testing.assert_allclose(found.shift_left[1:3], 1, atol=0.1)
    for found in (forgotten.along, forgotten.along_walking):
        np.testing.assert_allclose(found.shift_left[:, 0], 1)
        np.testing.assert_allclose(found.shift_left[:3, -1], 0, atol=0.1)


def test_a_rough_torus_keeps_what_is_larger_than_its_ripples(samples):
    pitch = 0.03  # metres between the places at which states come to rest

    def rough(states, velocities):
        moved = torus(states, velocities)
        place = read(moved)
        pulled = place - 0.1 * pitch / (2 * np.pi) * np.sin(2 * np.pi * place / pitch)
        return moved - code(place) + code(pulled)

    found = measure(rough, samples)
    assert found.gains.along[-1, 1] < 0.3  # little is left of the smallest displacements
    assert found.along.shift_m[2, 0] > 3 * pitch
    np.testing.assert_allclose(found.along.shift_left[2], 1, atol=0.1)


def test_gains_of_the_torus_are_one_along_and_the_known_rate_across(on_torus):
    gains = on_torus.gains
    np.testing.assert_allclose(gains.along[:, 1:], 1, atol=0.01)
    np.testing.assert_allclose(gains.along, 1, atol=0.06)  # some planes are off by ten degrees
    powers = CONTRACTION ** gains.lengths.astype(float)
    np.testing.assert_allclose(gains.across[:, 1], powers, atol=0.003)
    # If a plane is off by an angle, the square of its sine leaks from along to across.
    np.testing.assert_allclose(gains.across[:, 2], powers, atol=0.015)
    np.testing.assert_allclose(gains.across_largest[0], CONTRACTION, atol=0.03)


def test_noise_diffuses_along_the_torus_as_it_must(on_torus, samples):
    noise = on_torus.noise
    # Each unit's noise has deviation s / sqrt(N); so has its part along x, s / sqrt(N) / speed in
    # metres, every step; the mean square shift is 4 D steps.
    expected = np.array(noise.amplitudes) ** 2 / (2 * UNITS * SPEED**2)
    np.testing.assert_allclose(noise.diffusion, expected, rtol=0.3)  # 60 states, 2 components
    # Off the torus, noise that contracts by a factor per step adds up as a geometric sum.
    stays = noise.amplitudes * CONTRACTION / np.sqrt(1 - CONTRACTION**2)
    np.testing.assert_allclose(noise.distance[:, -1], stays, rtol=0.2)
    assert noise.floor.max() < 0.01


def test_the_torus_stays_at_rest(on_torus):
    assert on_torus.rest_shift_m.max() < 0.01


def test_what_keeps_everything_returns_nothing(kept):
    for found in (kept.across, kept.across_walking):
        assert np.isnan(found.returned).all()
        # Distances of 0.03 and more between unit vectors whose entries are rounded at 6e-8.
        np.testing.assert_allclose(found.distance[:, -1], found.distance[:, 0], rtol=1e-4)
    np.testing.assert_allclose(kept.gains.along, 1, atol=0.03)
    np.testing.assert_allclose(kept.gains.across, 1, atol=0.01)
    assert (kept.noise.distance[:, -1] > 5 * kept.noise.distance[:, 0]).all()


def test_the_thickness_of_the_cloud_is_no_distance(samples):
    rng = np.random.default_rng(3)
    positions, reference, _ = samples
    scatter = 0.1 / np.sqrt(UNITS)  # of length 0.1, across and along
    cloud = code(reference) + scatter * rng.standard_normal((REFERENCES, UNITS))
    states = code(positions) + scatter * rng.standard_normal((STATES, UNITS))
    thick = fit_manifold(cloud, reference)
    off = attractor.perturb_across(states, thick, [0.1, 0.2], rng)
    rest = np.zeros((1, 2))
    found = attractor.follow(
        keep, off, np.stack([states, states]), rest, thick, [0.1, 0.2], steps=(0, 1)
    )
    assert (found.floor > 0.08).all()
    # To a fifth: a displacement that points at another reference state is nearer to that.
    np.testing.assert_allclose(found.distance[:, 0], [0.1, 0.2], rtol=0.2)
    same = attractor.follow(
        keep, states[None], np.stack([states, states]), rest, thick, [0.0], steps=(0, 1)
    )
    assert same.distance.max() == 0


def test_what_forgets_forgets_the_place_too(forgotten):
    # Two unit vectors of 36 entries that differ only by the rounding of each entry, below 6e-8.
    assert (forgotten.along.from_twin[:, -1] < 1e-6).all()
    np.testing.assert_allclose(forgotten.gains.across[0], CONTRACTION, atol=0.01)
    # Tangent planes at the final and the first place differ, so less of the shift appears in them.
    assert (forgotten.gains.along <= CONTRACTION ** forgotten.gains.lengths[:, None] + 0.01).all()
    assert forgotten.rest_shift_m[-1] > 0.2


def test_differences_give_the_gains_of_the_exact_jacobian(manifold, samples):
    rng = np.random.default_rng(2)
    # Positive entries: no unit is at the kink of its rectifier.
    matrix = jnp.asarray(np.eye(UNITS) + 0.05 * rng.random((UNITS, UNITS)), jnp.float32)

    def step(states, velocities):
        return norm_relu(jnp.einsum("ij,...j->...i", matrix, states, precision="highest"))

    states = code(samples[0][:5]).astype(np.float32)
    exact = jax.vmap(jax.jacfwd(lambda state: step(state, None)))
    by_jacobian = measure_gains(step, states, manifold, jacobian=exact, lengths=(1, 3))
    by_difference = measure_gains(step, states, manifold, lengths=(1, 3))
    for name in ("along", "across", "across_largest"):
        one, two = getattr(by_jacobian, name), getattr(by_difference, name)
        np.testing.assert_allclose(one, two, rtol=5e-3, atol=1e-3)  # single precision


def test_returning_counts_from_the_last_step_away():
    steps = np.array([0, 1, 2, 5, 9])
    back = attractor._back
    assert back(steps, np.array([0.1, 0.01, 0.03, 0.01, 0.0])) == 5
    assert back(steps, np.zeros(5)) == 0
    assert np.isnan(back(steps, np.array([0, 0, 0, 0, 0.02])))


def test_bad_input_is_named(samples):
    positions, reference, walks = samples
    states, cloud = code(positions), code(reference)
    with pytest.raises(ValueError, match="above 24"):
        fit_manifold(cloud[:24], reference[:24])
    with pytest.raises(ValueError, match=r"reach_m=0\.01"):
        fit_manifold(cloud, reference, reach_m=0.01)
    with pytest.raises(ValueError, match="states"):
        measure_attractor(keep, states[:, :5], cloud, reference, walks, key=KEY)
    for wrong in (walks[:, :99], walks[:3], walks[0]):
        with pytest.raises(ValueError, match="at least 100"):
            measure_attractor(keep, states, cloud, reference, wrong, key=KEY)
