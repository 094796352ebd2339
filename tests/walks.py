"""Irregular paths for recorded cells: on a periodic one time shifts change nothing."""

import numpy as np


def smooth_walk(times, box_m=1.0, seed=0):
    """Positions [S, 2] of an animal at 0.2 m/s; the walls of the box reflect it."""
    step = times[1] - times[0]
    turns = np.random.default_rng(seed).normal(0, np.sqrt(step), len(times))
    heading = np.cumsum(turns)
    walk = 0.2 * step * np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    return box_m / np.pi * np.arcsin(np.sin(np.pi / box_m * walk))
