import numpy as np
import pytest
from ripser import ripser

from sicjax.analysis import cohomology
from sicjax.analysis.cohomology import FIELD, last_change, persistence_diagrams


def whole(distance):
    """Diagrams by Ripser alone, which runs until the complex is a cone."""
    single = np.asarray(distance, np.float32)
    return ripser(single, maxdim=2, coeff=FIELD, distance_matrix=True)["dgms"]


def assert_same(found, expected):
    for bars, others in zip(found, expected, strict=True):
        np.testing.assert_array_equal(bars[np.lexsort(bars.T)], others[np.lexsort(others.T)])


def euclidean(points):
    return np.linalg.norm(points[:, None] - points, axis=-1)


def draw(kind, rng):
    number = rng.integers(1, 45)
    points = rng.normal(size=(number, rng.integers(1, 6)))
    if kind == "sphere":
        return euclidean(points / np.linalg.norm(points, axis=1, keepdims=True))
    if kind == "torus":
        angles = rng.uniform(0, 2 * np.pi, (number, 2))
        return euclidean(np.concatenate([np.cos(angles), np.sin(angles)], axis=1))
    if kind == "many of one length":
        return np.abs(np.round(2 * points)[:, None] - np.round(2 * points)).sum(axis=-1)
    if kind == "no metric":
        table = rng.integers(1, 12, (number, number))
        return np.where(np.eye(number), 0, np.minimum(table, table.T))
    return euclidean(points)


@pytest.mark.parametrize("kind", ["cloud", "sphere", "torus", "many of one length", "no metric"])
def test_diagrams_are_those_of_the_whole_filtration(kind):
    rng = np.random.default_rng(3)
    for _ in range(60):
        distance = draw(kind, rng)
        assert_same(persistence_diagrams(distance), whole(distance))


def test_random_states_need_far_fewer_cliques(monkeypatch):
    """Random directions in six dimensions, as in a rolled module: long edges change nothing."""
    points = np.random.default_rng(0).normal(size=(150, 6))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    distance = 1 - points @ points.T
    np.fill_diagonal(distance, 0)
    reached = []

    def noted(*args, thresh, **kwargs):
        reached.append(thresh)
        return ripser(*args, thresh=thresh, **kwargs)

    monkeypatch.setattr(cohomology, "ripser", noted)
    found = persistence_diagrams(distance)
    assert_same(found, whole(distance))
    cone = distance.max(axis=1).min()
    edges, kept = (distance < cone).sum(), (distance < reached[-1]).sum()
    assert kept < 0.5 * edges


def test_the_last_change_is_the_last_birth_or_the_end_of_a_loop():
    rng = np.random.default_rng(1)
    for _ in range(40):
        distance = np.float32(draw("sphere", rng))
        bars = whole(distance)
        ends = [bars[0][:, 1], bars[1].ravel(), bars[2][:, 0]]
        last = max(end[np.isfinite(end)].max(initial=0) for end in ends)
        found = last_change(distance)
        assert found >= last
        if len(distance) > 20:  # equal, apart from bars of length zero, which no diagram shows
            assert found <= 1.2 * last


def test_a_bar_that_outlives_the_last_birth_is_followed_to_its_end():
    """An octahedron of unit edges: its hollow is filled when the first of three diagonals comes."""
    distance = np.ones((6, 6)) - np.eye(6)
    for k, diagonal in enumerate((9.0, 9.5, 10.0)):
        distance[2 * k, 2 * k + 1] = distance[2 * k + 1, 2 * k] = diagonal
    assert last_change(np.float32(distance)) == 1
    (hollow,) = persistence_diagrams(distance)[2]
    assert hollow.tolist() == [1, 9]


def test_a_loop_of_equal_edges_is_found():
    """Four points in a square: all edges have one length, and the last one closes the loop."""
    distance = euclidean(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
    assert last_change(np.float32(distance)) == np.float32(np.sqrt(2))  # the link of a diagonal
    assert persistence_diagrams(distance)[1].tolist() == [[1, pytest.approx(np.sqrt(2))]]


def test_few_points():
    assert last_change(np.zeros((1, 1), np.float32)) == 0
    assert [len(bars) for bars in persistence_diagrams(np.zeros((1, 1)))] == [1, 0, 0]
    assert persistence_diagrams(1 - np.eye(2))[0].tolist() == [[0, 1], [0, np.inf]]
