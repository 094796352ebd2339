"""Who is in a population: its networks, their seeds, settings and shapes, worked out once.

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

from sicjax.config import flatten
from sicjax.method import PAPER, Method, Settings, make_settings
from sicjax.training import TrainState, make_init


class Member(NamedTuple):
    """One network of a population."""

    variant: str
    seed: int


def members(config: ConfigDict) -> list[Member]:
    """The networks of a population by their index: variant by variant, seed by seed.

    A config without variants has one, called "default".
    """
    return [
        Member(variant, config.seed + k)
        for variant in (config.variants or ["default"])
        for k in range(config.num_networks)
    ]


def of_variant(config: ConfigDict, variant: str) -> ConfigDict:
    """The config that trains one variant alone.

    Raises:
        KeyError: there is no such variant.
    """
    alone = config.copy_and_resolve_references()
    alone.variants = {}
    if config.variants or variant != "default":
        for name, value in flatten(config.variants[variant]).items():
            section, _, leaf = name.rpartition(".")
            alone[section][leaf] = value
    return alone


@dataclass(frozen=True)
class Population:
    """The networks that a config and a method describe."""

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
    def settings(self) -> Settings:
        """The settings of every network, leaves [P]."""
        apart = {
            variant: make_settings(of_variant(self.config, variant))
            for variant in self.config.variants or ["default"]
        }
        networks = [apart[member.variant] for member in self.members]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *networks)

    @cached_property
    def shapes(self) -> TrainState:
        """Shapes and types of the training state, leaves [P, ...]."""
        seeds = jax.ShapeDtypeStruct((len(self),), jnp.uint32)
        return jax.eval_shape(jax.vmap(make_init(self.config, self.method)), seeds)
