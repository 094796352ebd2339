"""Slow, obvious float64 references in plain loops. States [B, T, N], positions [B, T, 2]."""

import math

import numpy as np


def pairs(states, positions):
    """Every unordered pair as (|x - x'|, |g - g'|^2)."""
    g = np.asarray(states, np.float64).reshape(-1, states.shape[-1])
    x = np.asarray(positions, np.float64).reshape(-1, 2)
    for i in range(len(g)):
        for j in range(i + 1, len(g)):
            yield math.dist(x[i], x[j]), float(np.sum((g[i] - g[j]) ** 2))


def separation(states, positions, sigma_x, sigma_g, reduction="mean"):
    values = [
        math.exp(-square / (2 * sigma_g**2))
        for distance, square in pairs(states, positions)
        if distance > sigma_x
    ]
    return _reduce(values, reduction)


def invariance(states, positions, sigma_x, reduction="mean"):
    values = [square for distance, square in pairs(states, positions) if distance < sigma_x]
    return _reduce(values, reduction)


def capacity(states):
    total = np.zeros(states.shape[-1])
    for row in np.asarray(states, np.float64).reshape(-1, states.shape[-1]):
        total += row
    return -float(np.sum((total / max(states.shape[0] * states.shape[1], 1)) ** 2))


def conformal_isometry(states, initial_state, steps, max_step, min_step=0.0):
    speeds = []
    for trajectory, walked in zip(np.asarray(states, float), np.asarray(steps, float), strict=True):
        before = np.asarray(initial_state, float)
        for state, step in zip(trajectory, walked, strict=True):
            length = math.hypot(*step)
            if min_step < length < max_step:
                speeds.append(math.dist(state, before) / length)
            before = state
    return float(np.var(speeds)) if speeds else 0.0


def rollout(transitions, order, initial_state):
    """States [B, T, N] of the recurrence, one matrix product at a time."""
    states = np.zeros((*order.shape, len(initial_state)))
    for b, row in enumerate(order):
        state = np.asarray(initial_state, np.float64)
        for t, k in enumerate(row):
            positive = np.maximum(np.asarray(transitions[k], np.float64) @ state, 0)
            norm = np.linalg.norm(positive)
            state = positive / norm if norm > 0 else positive
            states[b, t] = state
    return states


def _reduce(values, reduction):
    if not values:
        return 0.0
    return math.fsum(values) / (len(values) if reduction == "mean" else 1)
