"""Semantic neighbours: drawn where they should be, reproducibly, shared where queries share an instance."""

import numpy as np
import pytest

from tests.conftest import HalfPlanes, RampTracker
from trackime.arrays import ids_at
from trackime.ime import ImeConfig
from trackime.ime._context import RunContext
from trackime.ime.neighbours import draw_neighbours
from trackime.ime.neighbours import find_instances as found_in
from trackime.types import Queries


class Frames:
    def __init__(self, array):
        self.array = array

    def __len__(self):
        return len(self.array)

    def read(self, t0, t1):
        return self.array[t0:t1]


@pytest.mark.parametrize(
    ("pixels", "asked", "want"),
    [(0, 32, 0), (1, 32, 0), (2, 32, 1), (10, 32, 9), (200, 32, 31), (200, 1, 0), (200, 2, 1)],
)
def test_count(pixels, asked, want):
    confidence = np.zeros((20, 20), np.float32)
    confidence.flat[:pixels] = 0.9
    points = draw_neighbours(confidence, np.array([0.5, 0.5]), 0, ImeConfig(neighbours=asked))
    assert points.shape == (want, 2)
    assert len(np.unique(points, axis=0)) == want  # without replacement
    assert ids_at(confidence > 0.5, points).all()
    assert [0.5, 0.5] not in points.tolist()


def test_draws_follow_the_confidence():
    confidence = np.full((40, 40), 0.5, np.float32)
    confidence[:, 20:] = 1.0
    right = [
        (draw_neighbours(confidence, np.array([1.0, 1.0]), t, ImeConfig(neighbours=101))[:, 0] > 20).mean()
        for t in range(40)
    ]
    # Of 1,600 pixels a hundred leave: close to sampling with replacement, two to one.
    assert abs(np.mean(right) - 2 / 3) < 0.02


def test_draws_are_seeded_by_the_query_alone():
    confidence = np.random.default_rng(0).uniform(0.4, 1, (30, 30)).astype(np.float32)
    one = draw_neighbours(confidence, np.array([3.0, 4.0]), 2, ImeConfig())
    np.testing.assert_array_equal(one, draw_neighbours(confidence, np.array([3.0, 4.0]), 2, ImeConfig()))
    for other in (
        draw_neighbours(confidence, np.array([3.0, 4.5]), 2, ImeConfig()),
        draw_neighbours(confidence, np.array([3.0, 4.0]), 3, ImeConfig()),
        draw_neighbours(confidence, np.array([3.0, 4.0]), 2, ImeConfig(seed=1)),
    ):
        assert not np.array_equal(one, other)


def find_instances(frames, queries, segmenter, config, masks=None, counted=None):
    context = RunContext(frames, RampTracker(), segmenter, config)
    found = found_in(context, queries, masks)
    if counted is not None:
        counted.append(context.operations.masks_cut)
    return found


QUERIES = np.array([[10, 10, 0], [100, 20, 0], [30, 50, 0], [10, 10, 3], [110, 80, 0]], np.float32)


def groups(instances):
    return sorted(sorted(i.members.tolist()) for i in instances)


@pytest.mark.parametrize("shares", [True, False])
def test_grouping(ramp, shares):
    counted = []
    segmenter = HalfPlanes(shares_masks=shares)
    found = find_instances(Frames(ramp), Queries(QUERIES), segmenter, ImeConfig(), counted=counted)
    assert groups(found) == [[0, 2], [1, 4], [3]]
    assert counted == [3 if shares else 5]
    for instance in found:
        side = QUERIES[instance.members[0], 0] < 60
        assert ((instance.points[:, 0] < 60) == side).all() and len(instance.points) == 31


def test_a_query_each_as_published(ramp):
    found = find_instances(Frames(ramp), Queries(QUERIES), HalfPlanes(), ImeConfig(windows="query"))
    assert groups(found) == [[0], [1], [2], [3], [4]]


def test_order_changes_nothing(ramp):
    order = np.array([4, 2, 0, 3, 1])
    a = find_instances(Frames(ramp), Queries(QUERIES), HalfPlanes(), ImeConfig())
    b = find_instances(Frames(ramp), Queries(QUERIES[order]), HalfPlanes(), ImeConfig())
    key = lambda i: (i.t, i.points[0, 0])  # noqa: E731
    for x, y in zip(sorted(a, key=key), sorted(b, key=key), strict=True):
        np.testing.assert_array_equal(x.points, y.points)
        assert sorted(x.members.tolist()) == sorted(order[y.members].tolist())


def test_ids_the_caller_knows_apart_stay_apart(ramp):
    found = find_instances(Frames(ramp), Queries(QUERIES, np.array([1, 1, 2, 1, 1])), HalfPlanes(), ImeConfig())
    assert groups(found) == [[0], [1, 4], [2], [3]]


def test_given_masks_replace_the_segmenter(ramp):
    ids = np.zeros((90, 120), np.uint8)
    ids[5:15, 5:15], ids[0] = 7, 255
    segmenter = HalfPlanes()
    found = find_instances(Frames(ramp), Queries(QUERIES[:1]), segmenter, ImeConfig(), masks={0: ids})
    assert segmenter.calls == 0
    assert ids_at(ids == 7, found[0].points).all()


def test_no_neighbours_asks_no_segmenter(ramp):
    segmenter = HalfPlanes()
    config = ImeConfig(neighbours=1, windows="query")
    found = find_instances(Frames(ramp), Queries(QUERIES), segmenter, config)
    assert segmenter.calls == 0 and all(len(i.points) == 0 for i in found)


def test_points_outside_the_frame_are_outside_the_mask():
    mask = np.ones((4, 6), bool)
    xy = np.array([[0, 0], [6, 4], [-0.1, 1], [6.1, 1], [1, -1], [1, 4.2]])
    assert ids_at(mask, xy).tolist() == [True, True, False, False, False, False]
