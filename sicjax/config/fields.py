"""The schema: every setting of a run with its default, meaning, source and rule.

The source is "paper" if Schaeffer et al. 2023 state the value, "inferred" if the paper implies or
plots it, and "ours" if the paper leaves it open or the setting is not part of the method.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Rule:
    """A condition on a value, and its description."""

    holds: Callable[[Any], bool]
    says: str


def at_least(smallest: int) -> Rule:
    """Allow integers from `smallest` to JAX's largest, 2**31 - 1."""
    return Rule(lambda value: smallest <= value < 2**31, f"at least {smallest}, and below 2**31")


def within(smallest: int, largest: int) -> Rule:
    """Allow integers in a closed range."""
    return Rule(lambda value: smallest <= value <= largest, f"from {smallest} to {largest}")


def one_of(*choices: str) -> Rule:
    """Allow one of a few words."""
    return Rule(lambda value: value in choices, "one of " + ", ".join(choices))


POSITIVE = Rule(lambda value: math.isfinite(value) and value > 0, "positive and finite")
FINITE = Rule(math.isfinite, "finite")
NOT_NEGATIVE = Rule(lambda value: math.isfinite(value) and value >= 0, "finite and not negative")
FRACTION = Rule(lambda value: 0 <= value < 1, "in [0, 1)")
ANY = Rule(lambda value: True, "")


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting."""

    default: Any
    meaning: str
    source: str = "ours"
    rule: Rule = ANY
    changes_numbers: bool = True  # False: a run may be continued with another value
    also: tuple[str, ...] = ()  # words that are allowed besides values of the default's type


LOSS: Mapping[str, Field] = {
    "loss.sigma_x": Field(
        0.05, "distance that separates near pairs from far ones, m", "paper", POSITIVE
    ),
    "loss.sigma_g": Field(
        0.4, "length scale of the separation loss, in state space", "paper", POSITIVE
    ),
    "loss.min_step": Field(
        0.0, "steps up to this length, m, do not count in conformal isometry. The paper counts all"
        " (0), but the expectation of this loss is then infinite", "ours", NOT_NEGATIVE,
    ),
    "loss.separation": Field(1.0, "weight of the separation loss", "paper", FINITE),
    "loss.invariance": Field(0.1, "weight of the invariance loss", "paper", FINITE),
    "loss.capacity": Field(0.5, "weight of the capacity loss", "paper", FINITE),
    "loss.conformal_isometry": Field(
        0.1, "weight of the conformal isometry loss; the paper gives none", "ours", FINITE
    ),
    "loss.own_terms": Field(
        1.0, "factor of the terms that a `Method` adds to the loss, so that a sweep can vary it",
        "ours", FINITE,
    ),
    "loss.reduction": Field(
        "mean", "how the pair losses are reduced; with sums, capacity would have almost no weight",
        "inferred", one_of("mean", "sum"),
    ),
}  # fmt: skip
_LOSS_SCALARS = tuple(name for name, field in LOSS.items() if isinstance(field.default, float))

# Networks of one program may differ in these fields: traced scalars, see `method.Settings`.
VARIED = (*_LOSS_SCALARS, "data.permute", "optimizer.learning_rate")

# These fields may change from one stage of training to the next: none of them shapes a network.
STAGED = (
    "data.num_trajectories", "data.trajectory_length", "data.permute", *_LOSS_SCALARS,
    "optimizer.learning_rate", "optimizer.warmup_steps", "optimizer.clip",
    "optimizer.accumulation", "optimizer.weight_decay",
)  # fmt: skip

FIELDS: Mapping[str, Field] = {
    "seed": Field(
        0,
        "seed of the first network; network k of every variant uses seed + k",
        rule=within(0, 2**32 - 1),
    ),
    "num_networks": Field(
        1,
        "number of networks (seeds) of every variant, trained side by side",
        rule=within(1, 2**31),
    ),
    "variants": Field(
        {},
        "named settings; each is trained from every seed. A table that maps a name to fields of"
        " this list and their values (JSON on the command line; variants.NAME.FIELD sets one field"
        " of a variant that the config has). Fields that may vary: " + ", ".join(VARIED),
    ),
    "stages": Field(
        {},
        "named stages of the training, in order. A table that maps a name to num_steps and to"
        " fields of this list with new values (JSON on the command line; stages.NAME.FIELD sets one"
        " field of a stage that the config has). Warm-up and cosine start again in each stage. The"
        " run ends at the num_steps below. A variant's values hold in every stage. Fields that may"
        " change: " + ", ".join(STAGED),
        changes_numbers=False,  # only for stages that have not begun: see `stages_begun`
    ),
    "start_from": Field(
        "",
        "initial parameters, instead of random ones from the seed: the folder of a run, or the name"
        " of a network that comes with sicjax. It must hold one network, from which all start, or"
        " one for each",
    ),
    "num_steps": Field(
        2_000_000,
        "number of optimiser updates",
        "paper",
        within(1, 2**31 - 1),
        changes_numbers=False,
    ),
    "steps_per_dispatch": Field(
        10,
        "updates per call to the device (at most)",
        rule=at_least(1),
        changes_numbers=False,
    ),
    "log_every": Field(
        100, "updates between two lines of metrics", rule=at_least(1), changes_numbers=False
    ),
    "checkpoint_every": Field(
        1000, "updates between two checkpoints", rule=at_least(1), changes_numbers=False
    ),
    "keep_checkpoints": Field(
        2, "number of latest checkpoints kept on disk", rule=at_least(1), changes_numbers=False
    ),
    "keep_checkpoints_every": Field(
        0,
        "keep a checkpoint permanently every this many updates; 0 keeps only the latest ones",
        rule=at_least(0),
        changes_numbers=False,
    ),
    "report": Field(
        True,
        "at the end, evaluate the networks and write report/. scores: only count each network's"
        " grid cells and modules, in report/scores.csv. false: neither",
        changes_numbers=False,
        also=("scores",),
    ),
    "compilation_cache": Field(
        True, "keep compiled programs under the user's cache folder", changes_numbers=False
    ),
    "parallel": Field(
        "networks",
        "how several devices share the work. networks: each trains its own networks; batch: all"
        " share each network's batch; auto: networks if no device stays idle, else batch",
        rule=one_of("networks", "batch", "auto"),
        changes_numbers=False,
    ),
    "fused_pairs": Field(
        False,
        "on NVIDIA GPUs, compute the pair losses with one fused kernel, equal to rounding; off by"
        " default, because it has not been timed yet",
        changes_numbers=False,
    ),
    "fused_rollout": Field(
        False,
        "on NVIDIA GPUs, walk the trajectories of a batch with one kernel per direction, equal to"
        " rounding; off by default, because it has not been timed yet",
        changes_numbers=False,
    ),
    "data.num_trajectories": Field(
        130,
        "B, number of trajectories in a batch, each a permutation of the same velocities",
        "paper",
        at_least(1),
    ),
    "data.trajectory_length": Field(60, "T, steps in a trajectory", "paper", at_least(1)),
    "data.max_velocity": Field(
        0.15, "largest component of a velocity, m per step", "paper", POSITIVE
    ),
    "data.permute": Field(
        True, "permute the velocities; False is the ablation without permutations", "paper"
    ),
    "model.num_units": Field(128, "N, number of units in the network", "paper", at_least(1)),
    "model.hidden_width": Field(
        256, "H, width of the hypernetwork's hidden layers", rule=at_least(1)
    ),
    "model.num_layers": Field(
        3, "number of linear layers in the hypernetwork", "paper", within(1, 1000)
    ),
    "model.activation": Field(
        "relu",
        "activation of the hypernetwork, a function of jax.nn",
        rule=one_of("relu", "gelu", "silu", "tanh", "elu", "softplus"),
    ),
    "model.last_layer_scale": Field(
        0.1, "initial range of the last layer's weights, relative to ±1/sqrt(H)", rule=NOT_NEGATIVE
    ),
    "model.identity_start": Field(True, "the last bias starts as the identity matrix"),
    "model.positive_start": Field(
        True, "g_0 starts as a normalised |normal| vector instead of a normal one"
    ),
    "model.train_initial_state": Field(True, "g_0 is trained along with the weights"),
    **LOSS,
    "optimizer.learning_rate": Field(2e-5, "peak learning rate of AdamW", "paper", POSITIVE),
    "optimizer.schedule": Field(
        "plateau",
        "schedule of the learning rate after the warm-up",
        "paper",
        one_of("constant", "cosine", "plateau"),
    ),
    "optimizer.warmup_steps": Field(
        0, "updates over which the learning rate rises linearly from 0", rule=at_least(0)
    ),
    "optimizer.decay_steps": Field(
        0,
        "update at which the cosine reaches zero; 0 means the num_steps at the start of the run,"
        " even if the run is prolonged later",
        rule=at_least(0),
    ),
    "optimizer.plateau_factor": Field(
        0.1,
        "factor by which a plateau multiplies the learning rate (PyTorch's default)",
        "inferred",
        Rule(lambda value: 0 < value < 1, "in (0, 1)"),
    ),
    "optimizer.plateau_patience": Field(
        10,
        "windows without a new best loss before the rate is reduced (PyTorch's default)",
        "inferred",
        at_least(0),
    ),
    "optimizer.plateau_window": Field(
        1000, "updates over which the loss is averaged to detect a plateau", rule=at_least(1)
    ),
    "optimizer.clip": Field(0.1, "largest norm of the whole gradient", "paper", POSITIVE),
    "optimizer.accumulation": Field(2, "batches averaged in one update", "paper", at_least(1)),
    "optimizer.weight_decay": Field(
        0.01, "weight decay of AdamW (PyTorch's default)", "inferred", NOT_NEGATIVE
    ),
    "optimizer.b1": Field(0.9, "decay rate of Adam's first moment", "inferred", FRACTION),
    "optimizer.b2": Field(0.999, "decay rate of Adam's second moment", "inferred", FRACTION),
    "evaluation.verdict_box": Field(
        3.0,
        "side in metres of the box in which grid cells, modules and tori are determined. It must"
        " hold several of the coarsest periods. Maps of 2, 3 and 4 m are always made as well",
        rule=Rule(lambda side: 1 <= side <= 10, "from 1 to 10"),
        changes_numbers=False,
    ),
    "evaluation.recorded_path": Field(
        "sargolini",
        "recorded path along which the report runs the network: sargolini (a rat's, from the"
        " package ratinabox), a .npz or .npy file of positions [samples, 2] in metres, or"
        " empty for none",
        changes_numbers=False,
    ),
    "evaluation.recorded_path_every": Field(
        15,
        "use every n-th sample of the recorded path; at 15 the rat's longest step (0.146 m) is"
        " within the paper's training range",
        rule=at_least(1),
        changes_numbers=False,
    ),
    "evaluation.torus_rolls": Field(
        -1,
        "number of rolls in the null model of each module's torus test. 0 disables the null model,"
        " so no verdict is given. -1 uses 20 rolls per module, largest module first, within an"
        " estimated minute",
        rule=at_least(-1),
        changes_numbers=False,
    ),
    "evaluation.animations": Field(
        True,
        "add moving pictures to the report: lattices forming, the network walking, its tori;"
        " they take some seconds",
        changes_numbers=False,
    ),
    "evaluation.figures": Field(
        "png",
        "format of the report's figures. pdf and svg write each figure in that format as well as"
        " png",
        rule=one_of("png", "pdf", "svg"),
        changes_numbers=False,
    ),
    "evaluation.snapshot_every": Field(
        0,
        "updates between snapshots of each network's maps during training (film strip, TensorBoard"
        " images, progress). A snapshot takes a second or two; 0 takes none",
        rule=at_least(0),
        changes_numbers=False,
    ),
}
