"""Shapes of the method's functions, with another number for every letter; nothing is compiled.

Letters: B trajectories, T steps, N units, W walks.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest

import sicjax
from sicjax.network.losses import neural_speeds
from sicjax.network.rollout import rollout, rollout_permuted

pytestmark = pytest.mark.usefixtures("strict_types")

SIZES = [{"B": 3, "T": 5, "N": 7, "W": 2}, {"B": 1, "T": 1, "N": 1, "W": 1}]
KEY = jax.random.key(0)
STATES, POINTS = "B T N", "B T 2"


def transitions(velocities):
    """Matrices [..., N, N] for velocities [..., 2], with the N of `transitions.units`."""
    return jnp.zeros((*velocities.shape[:-1], transitions.units, transitions.units))


separation = partial(sicjax.separation_loss, sigma_x=0.05, sigma_g=0.4)
CASES = [
    (sicjax.norm_relu, [STATES], STATES),
    (separation, [STATES, POINTS], ""),
    (jax.grad(separation), [STATES, POINTS], STATES),
    (partial(sicjax.invariance_loss, sigma_x=0.05), [STATES, POINTS], ""),
    (sicjax.capacity_loss, [STATES], ""),
    (partial(sicjax.conformal_isometry_loss, max_step=0.05), [STATES, "N", POINTS], ""),
    (lambda *a: neural_speeds(*a, max_step=0.05)[0], [STATES, "N", POINTS], "B T"),
    (rollout_permuted, ["T N N", "B T int", "N"], STATES),
    (partial(rollout, transitions), ["N", "W T 2"], "W T N"),
]


def shape(letters, sizes):
    return tuple(sizes.get(one) or int(one) for one in letters.split() if one != "int")


@pytest.mark.parametrize("sizes", SIZES, ids=["many", "one"])
@pytest.mark.parametrize(("function", "inputs", "output"), CASES)
def test_shapes(function, inputs, output, sizes):
    transitions.units = sizes["N"]
    arguments = [
        jax.ShapeDtypeStruct(shape(one, sizes), jnp.int32 if "int" in one else jnp.float32)
        for one in inputs
    ]
    found = jax.eval_shape(function, *arguments)
    assert (found.shape, found.dtype) == (shape(output, sizes), jnp.float32)


@pytest.mark.parametrize("sizes", SIZES, ids=["many", "one"])
def test_shapes_of_a_batch(sizes):
    draw = partial(sicjax.sample_batch, num_trajectories=sizes["B"], trajectory_length=sizes["T"])
    batch = jax.eval_shape(draw, KEY)
    assert batch.velocities.shape == shape("T 2", sizes)
    assert batch.order.shape == shape("B T", sizes)
    assert batch.steps.shape == batch.positions.shape == shape(POINTS, sizes)


def documented_shapes(function):
    """Return the arrays in a docstring's Args: name -> letters, as {"states": ["B", "T", "N"]}."""
    lines = re.findall(r"^ +(\w+): \[([\w, ]+)\]", function.__doc__, re.MULTILINE)
    return {name: letters.split(", ") for name, letters in lines}


@pytest.mark.parametrize(
    ("function", "scalars"),
    [
        (sicjax.separation_loss, {"sigma_x": 0.1, "sigma_g": 0.4}),
        (sicjax.invariance_loss, {"sigma_x": 0.1}),
        (sicjax.capacity_loss, {}),
        (sicjax.conformal_isometry_loss, {"max_step": 0.1}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_shapes_of_the_docstring_are_taken_and_no_others(function, scalars):
    letters, sizes = documented_shapes(function), {"B": 3, "T": 4, "N": 5, "2": 2}
    shapes = {name: tuple(sizes[letter] for letter in own) for name, own in letters.items()}
    assert "states" in shapes

    def call(changed):
        arrays = [jax.ShapeDtypeStruct(s, jnp.float32) for s in (shapes | changed).values()]
        return jax.eval_shape(lambda *arrays: function(*arrays, **scalars), *arrays)

    assert call({}).shape == ()
    for name, shape in shapes.items():
        others = {"2"}.union(*(own for other, own in letters.items() if other != name))
        wrong = [(*shape, 1), shape[1:]]
        for axis in range(len(shape)):
            if letters[name][axis] in others:  # this size is given elsewhere
                wrong.append((*shape[:axis], shape[axis] + 1, *shape[axis + 1 :]))
        for changed in wrong:
            with pytest.raises((TypeError, ValueError), match=r"must be \["):
                call({name: changed})
