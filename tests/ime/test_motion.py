"""Instance motion: the vectorised sums against plain loops, and what must hold of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.ime.fusion import fuse, scale_precision
from trackime.ime.motion import instance_steps, integrate, prefer_query


def slow_motion(xy, vis, point, t_q, scheme):
    """Equations 5 and 6 as one would write them on a blackboard, away from the query frame both ways."""
    s, length, _ = xy.shape

    def weight(i, arrive, leave):
        if scheme == "equal":
            return 1.0
        return min(vis[i, arrive], vis[i, leave]) if scheme == "both" else vis[i, arrive]

    out = np.zeros((length, 2))
    out[t_q] = point
    for direction in (1, -1):
        t = t_q + direction
        while 0 <= t < length:
            before = t - direction
            total = sum(weight(i, t, before) for i in range(s))
            step = np.zeros(2)
            if total > 1e-6:
                step = sum(weight(i, t, before) * (xy[i, t] - xy[i, before]) for i in range(s)) / total
            out[t] = out[before] + step
            t += direction
    return out


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    s=st.integers(1, 6),
    length=st.integers(1, 9),
    scheme=st.sampled_from(["visibility", "equal", "both"]),
)
def test_against_loops(seed, s, length, scheme):
    rng = np.random.default_rng(seed)
    xy = rng.normal(50, 20, (s, length, 2))
    vis = rng.random((s, length)) * (rng.random((s, length)) > 0.4)
    t = rng.integers(0, length, 3)
    points = rng.normal(50, 20, (3, 2))
    got = integrate(points, t, instance_steps(xy, vis, scheme))
    want = np.stack([slow_motion(xy, vis, p, k, scheme) for p, k in zip(points, t, strict=True)])
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("scheme", ["visibility", "equal", "both"])
def test_reversing_the_video_reverses_the_motion(scheme):
    rng = np.random.default_rng(1)
    xy, vis = rng.normal(0, 9, (5, 12, 2)), rng.random((5, 12))
    point, t = np.array([[3.0, 4.0]]), np.array([4])
    ahead = integrate(point, t, instance_steps(xy, vis, scheme))
    back = integrate(point, 11 - t, instance_steps(xy[:, ::-1], vis[:, ::-1], scheme))
    np.testing.assert_allclose(ahead, back[:, ::-1], atol=1e-5)


def test_a_rigid_shift_is_recovered_whatever_the_visibility():
    rng = np.random.default_rng(2)
    path = np.cumsum(rng.normal(0, 3, (20, 2)), 0)
    xy = rng.random((7, 1, 2)) * 50 + path[None]
    got = integrate(np.array([[10.0, 10.0]]), np.array([6]), instance_steps(xy, rng.random((7, 20)) + 0.01))
    np.testing.assert_allclose(got[0], 10 + path - path[6], atol=1e-4)


def test_all_hidden_stands_still():
    xy = np.arange(2 * 5 * 2, dtype=float).reshape(2, 5, 2)
    got = integrate(np.array([[1.0, 2.0]]), np.array([2]), instance_steps(xy, np.zeros((2, 5))))
    np.testing.assert_array_equal(got, np.broadcast_to([1.0, 2.0], (1, 5, 2)))


def test_no_neighbours_stand_still():
    steps = instance_steps(np.zeros((0, 4, 2)), np.zeros((0, 4)))
    assert integrate(np.array([[1.0, 2.0]]), np.array([0]), steps).tolist() == [[[1, 2]] * 4]


def test_prefer_query_mixes_by_visibility_and_pins_the_query():
    own, guided = np.zeros((1, 3, 2), np.float32), np.full((1, 3, 2), 10, np.float32)
    got = prefer_query(own, np.array([[0.0, 1.0, 0.25]], np.float32), guided, np.array([[7.0, 8.0, 0.0]]))
    np.testing.assert_allclose(got[0], [[7, 8], [0, 0], [7.5, 7.5]])


class TestFusion:
    def test_one_scale_is_itself(self):
        rng = np.random.default_rng(3)
        xy, vis = rng.random((4, 5, 2)).astype(np.float32), rng.random((4, 5)).astype(np.float32)
        got_xy, got_vis = fuse([(xy, vis)])
        np.testing.assert_allclose(got_xy, xy, atol=1e-6)
        np.testing.assert_allclose(got_vis, vis, atol=1e-6)

    def test_weights_and_geometric_mean_of_occlusion(self):
        a = (np.array([[[0.0, 0.0]]]), np.array([[0.75]]))
        b = (np.array([[[8.0, 4.0]]]), np.array([[0.25]]))
        xy, vis = fuse([a, b])
        np.testing.assert_allclose(xy, [[[2.0, 1.0]]])
        np.testing.assert_allclose(vis, [[1 - (0.25 * 0.75) ** 0.5]], rtol=1e-6)

    def test_all_hidden_takes_the_finest(self):
        a, b = (np.zeros((1, 2, 2)), np.zeros((1, 2))), (np.ones((1, 2, 2)), np.zeros((1, 2)))
        xy, vis = fuse([a, b])
        assert (xy == 1).all() and (vis == 0).all()

    def test_precision_counts_where_the_tracker_resizes(self):
        assert scale_precision([640, 256], (256, 256)) == pytest.approx([0.16, 1.0])
        assert scale_precision([640, 256], None) == [1.0, 1.0]
        a, b = (np.zeros((1, 1, 2)), np.ones((1, 1))), (np.ones((1, 1, 2)), np.ones((1, 1)))
        xy, vis = fuse([a, b], [0.16, 1.0])
        np.testing.assert_allclose(xy, 1 / 1.16, rtol=1e-6)
        assert vis == 1

    def test_precision_is_the_best_linear_mix(self):
        """Errors that grow with the side: the weighted mean beats either scale and the plain mean."""
        rng = np.random.default_rng(0)
        shape = (2000, 1, 2)
        coarse, fine = rng.normal(0, 2.5, shape), rng.normal(0, 1.0, shape)
        seen = np.ones((2000, 1))
        error = [
            np.square(fuse([(coarse, seen), (fine, seen)], weights)[0]).mean()
            for weights in (scale_precision([640, 256], (256, 256)), None)
        ]
        assert error[0] < np.square(fine).mean() < error[1]
