"""Persistent cohomology of Vietoris-Rips complexes, stopped where no bar can change any more.

A complex grows edge by edge, in order of length. Each edge adds all cliques that contain it. These
form a suspension of the edge's link, which is the complex of the vertices joined to both ends. If
the link is connected and not empty, then by Mayer and Vietoris no bar of H0 or H1 begins or ends
there, and no bar of H2 begins. So beyond the longest edge whose link is empty or disconnected, only
bars of H2 can still end. Ripser by itself stops only where the complex is a cone, with perhaps ten
times as many cliques.

Letters: L points; E edges of one round.
"""

from collections.abc import Iterator

import numpy as np
from ripser import ripser

FIELD = 47  # coefficients in Z/47, as in Gardner et al.: large, so that torsion does not show
EDGES = 512  # edges tested together
FURTHER = 1.1  # go on by this factor beyond the last change, until all bars of H2 have ended


def persistence_diagrams(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute persistence diagrams H0 to H2 over Z/47 of a Vietoris-Rips complex.

    Args:
        distance: [L, L], symmetric, with a zero diagonal.

    Returns:
        Bars [number, 2] of each dimension: birth and death in single precision, in no particular
        order. A bar that never ends (H0 has one) dies at inf.

    Source: Bauer 2021 (Ripser); the stopping rule is ours.
    """
    single = np.asarray(distance, np.float32)
    cone = float(single.max(axis=1).min())  # beyond it one point is joined to all
    reach = FURTHER * last_change(single)
    while True:
        bars = ripser(
            single, maxdim=2, coeff=FIELD, distance_matrix=True, thresh=min(reach, cone)
        )["dgms"]  # fmt: skip
        if reach >= cone or np.isfinite(bars[2]).all():
            return tuple(bars)
        reach *= FURTHER


def last_change(distance: np.ndarray) -> float:
    """Return the length of the longest edge whose link is empty or in several pieces.

    Edges of equal length may come in any order; edges beyond the length at which the complex is a
    cone do not count.

    Args:
        distance: [L, L], symmetric, with a zero diagonal.

    Returns:
        That length; 0 for fewer than two points.
    """
    first, second = np.triu_indices(len(distance), 1)
    length = distance[first, second]
    order = np.argsort(length, kind="stable")
    place = np.zeros(distance.shape, np.int64)  # rank of each edge; a point ranks before all
    place[first[order], second[order]] = place[second[order], first[order]] = 1 + np.arange(
        len(order)
    )
    within = np.searchsorted(length[order], distance.max(axis=1).min(), side="right")
    for stop in range(within, 0, -EDGES):
        round_ = order[max(stop - EDGES, 0) : stop][::-1]
        for edge in _doubtful(place, first[round_], second[round_]):
            if not _in_one_piece(place, first[round_[edge]], second[round_[edge]]):
                return float(length[round_[edge]])
    return 0.0


def _doubtful(place: np.ndarray, first: np.ndarray, second: np.ndarray) -> Iterator[int]:
    """Yield the edges, longest first, whose links a quick test does not find connected.

    The test walks all links of a batch [E] at once, along edges shorter than every edge of the
    batch.
    """
    number = place[first, second]
    link = (place[first] < number[:, None]) & (place[second] < number[:, None])
    rows = np.arange(len(first))
    link[rows, first] = link[rows, second] = False
    joined = (place <= number.min()).astype(np.float32)
    start = np.argmax(link * joined.sum(axis=0), axis=1)  # start at the point with most neighbours
    found = link & (joined[start] > 0)
    size, reached = link.sum(axis=1), found.sum(axis=1)
    growing = np.flatnonzero(reached < size)
    while growing.size:
        found[growing] = link[growing] & (found[growing].astype(np.float32) @ joined > 0)
        before, reached[growing] = reached[growing], found[growing].sum(axis=1)
        growing = growing[(reached[growing] > before) & (reached[growing] < size[growing])]
    yield from np.flatnonzero((reached < size) | (size == 0)).tolist()


def _in_one_piece(place: np.ndarray, first: int, second: int) -> bool:
    """Return whether the link of one edge is connected and not empty."""
    number = place[first, second]
    link = np.flatnonzero((place[first] < number) & (place[second] < number))
    link = link[(link != first) & (link != second)]
    if not link.size:
        return False
    joined = place[np.ix_(link, link)] < number
    found, reached = joined[0], 0
    while found.sum() > reached:
        reached = found.sum()
        found = joined[found].any(axis=0)
    return bool(found.all())
