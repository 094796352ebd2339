"""A population: the variant, seed, settings and array shapes of each network.

Letters: P networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sicjax.config.check import changed, flatten
from sicjax.training.method import PAPER, Method, Settings, make_settings
from sicjax.training.step import TrainState, make_init


class Member(NamedTuple):
    """One network of a population."""

    variant: str
    seed: int


def members(config: ConfigDict) -> list[Member]:
    """Return the networks of a population in the order of their index: by variant, then by seed.

    A config without variants has one variant, "default".
    """
    return [
        Member(variant, config.seed + k)
        for variant in (config.variants or ["default"])
        for k in range(config.num_networks)
    ]


def of_variant(config: ConfigDict, variant: str) -> ConfigDict:
    """Return the config that trains one variant alone.

    Raises:
        KeyError: the config has no such variant.
    """
    if not config.variants and variant == "default":
        return config.copy_and_resolve_references()
    alone = changed(config, config.variants[variant])
    alone.variants = {}
    return alone


class Stage(NamedTuple):
    """A part of the training with constant settings."""

    name: str  # "" if the config has no stages
    first: int  # its first update
    end: int  # its last update plus 1
    config: ConfigDict  # of the whole population, for this stage


def stages(config: ConfigDict) -> list[Stage]:
    """Return the stages up to `num_steps`, in order; the last one ends at `num_steps`."""
    if not config.stages:
        return [Stage("", 0, config.num_steps, config)]
    found, first = [], 0
    for name, table in config.stages.items():
        if first >= config.num_steps:
            break
        fields = flatten(table)
        steps = fields.pop("num_steps")
        own = changed(config, fields)
        own.stages, own.optimizer.decay_steps = {}, steps
        found.append(Stage(name, first, first + steps, own))
        first += steps
    found[-1] = found[-1]._replace(end=config.num_steps)
    return found


@dataclass(frozen=True)
class Population:
    """The networks that a config and a method define."""

    config: ConfigDict
    method: Method = PAPER

    @cached_property
    def members(self) -> Sequence[Member]:
        """Variant and seed of every network."""
        return members(self.config)

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def seeds(self) -> np.ndarray:
        """The seed of every network, uint32 [P]."""
        return np.array([member.seed for member in self.members], np.uint32)

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """The stages of the training."""
        return stages(self.config)

    def settings(self, stage: Stage | None = None) -> Settings:
        """Return the settings of every network in a stage (default: the first), leaves [P]."""
        config = (stage or self.stages[0]).config
        apart = {
            variant: make_settings(of_variant(config, variant))
            for variant in config.variants or ["default"]
        }
        networks = [apart[member.variant] for member in self.members]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *networks)

    def config_of(self, network: int, step: int) -> ConfigDict:
        """Return the config of one network in the stage that leads to `step`."""
        reached = [stage for stage in self.stages if stage.first < step] or self.stages[:1]
        return of_variant(reached[-1].config, self.members[network].variant)

    @cached_property
    def shapes(self) -> TrainState:
        """Shapes and types of the training state, leaves [P, ...]."""
        seeds = jax.ShapeDtypeStruct((len(self),), jnp.uint32)
        return jax.eval_shape(jax.vmap(make_init(self.config, self.method)), seeds)
