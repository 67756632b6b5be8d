"""trackime.metrics against published numbers, a slow reference, and what must hold of any tracks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trackime.metrics as metrics
from trackime.errors import InputError, ShapeError
from trackime.types import Queries, Tracks, VideoInfo

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "tapvid_metrics.npz")
CASES = sorted({name[:3] for name in GOLDEN.files if name.startswith("c")})


def tracks(xy, visible=None, t=None, size=(256, 256)):
    """Tracks of positions [N, T, 2] in a video of size (w, h), queried at frames t (0)."""
    xy = np.asarray(xy, np.float64)
    n, frames = xy.shape[:2]
    t = np.zeros(n, int) if t is None else np.asarray(t)
    queries = Queries(np.concatenate([xy[np.arange(n), t], t[:, None]], 1))
    visible = np.ones((n, frames)) if visible is None else np.asarray(visible, float)
    return Tracks(xy, visible, queries, VideoInfo.regular(*size, frames))


def moved(truth, xy, visible=None):
    """The truth's queries with other positions."""
    return Tracks(xy, truth.visibility if visible is None else visible, truth.queries, truth.video)


def random_pair(seed, n=4, frames=9, size=(320, 200)):
    rng = np.random.default_rng(seed)
    xy = np.cumsum(rng.normal(0, 8, (n, frames, 2)), 1) + 100
    truth = tracks(xy, rng.random((n, frames)) < 0.7, rng.integers(0, frames, n), size)
    pred = moved(truth, xy + rng.normal(0, 6, xy.shape), rng.random((n, frames)))
    return pred, truth


# ------------------------------------------------------------------------------------------- bad input


def test_refuses_what_does_not_agree():
    xy, seen = np.zeros((2, 3, 2)), np.ones((2, 3), bool)
    with pytest.raises(ShapeError, match=r"truth_xy: expected shape \[\.\.\., N, T, 2\]"):
        metrics.tap_vid([0, 0], xy[..., 0], seen, xy, seen)
    with pytest.raises(ShapeError, match="pred_xy"):
        metrics.tap_vid([0, 0], xy, seen, xy[:, :2], seen)
    with pytest.raises(ShapeError, match="truth_visible"):
        metrics.tap_vid([0, 0], xy, seen[:1], xy, seen)
    with pytest.raises(ShapeError, match="pred_visible"):
        metrics.tap_vid([0, 0], xy, seen, xy, seen.T)
    with pytest.raises(ShapeError, match="query_t"):
        metrics.tap_vid([0], xy, seen, xy, seen)
    with pytest.raises(InputError, match="mode: expected one of first, strided, got 'last'"):
        metrics.tap_vid([0, 0], xy, seen, xy, seen, mode="last")
    with pytest.raises(InputError, match=r"expected frames in 0 \.\. 2, got 0 \.\. 3"):
        metrics.tap_vid([0, 3], xy, seen, xy, seen)


def test_refuses_predictions_of_something_else():
    truth = tracks(np.zeros((2, 3, 2)))
    with pytest.raises(InputError, match="256x256 with 3 frames, got 128x256 with 3"):
        metrics.evaluate(tracks(np.zeros((2, 3, 2)), size=(128, 256)), truth)
    with pytest.raises(InputError, match="2 queries"):
        metrics.evaluate(truth[:1], truth)
    with pytest.raises(InputError, match="2 queries"):
        metrics.evaluate(tracks(np.zeros((2, 3, 2)), t=[0, 1]), truth)
    with pytest.raises(ShapeError, match="known"):
        metrics.survival(truth, truth, known=np.ones((2, 2), bool))
    with pytest.raises(ShapeError, match="areas"):
        metrics.pck_t(truth, truth, [1.0])
    with pytest.raises(ShapeError, match="flow"):
        metrics.flow_disagreement(truth, [])
    with pytest.raises(ShapeError, match=r"masks\[0\]"):
        metrics.in_mask(truth, np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(InputError, match="stride"):
        metrics.sample_queries_strided(truth.xy, truth.visible, 0)
    with pytest.raises(InputError, match="at least one video"):
        metrics.mean_scores([])
    with pytest.raises(InputError, match="same measures"):
        metrics.mean_scores([{"a": 1.0}, {"b": 1.0}])


def test_nothing_to_score_is_nan():
    none = tracks(np.zeros((0, 5, 2)))
    scores = metrics.evaluate(none, none)
    assert all(math.isnan(value) for value in scores.values())
    for measure in (metrics.trajectory_error, metrics.survival, metrics.temporal_coherence):
        assert math.isnan(measure(none, none))
    one = tracks(np.zeros((3, 1, 2)))
    assert math.isnan(metrics.temporal_coherence(one, one))
    assert math.isnan(metrics.flow_disagreement(one, []))
    assert math.isnan(metrics.pck_t(one, one, [9.0]))
    assert all(map(math.isnan, metrics.error_by_visibility(one, one).values()))
    assert metrics.sample_queries_first(none.xy, none.visible)[0].shape == (0, 3)
    assert metrics.sample_queries_strided(none.xy, none.visible)[0].shape == (0, 3)


# ------------------------------------------------------------------------------------------- TAP-Vid


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("trackwise", [False, True], ids=["video", "track"])
def test_equals_published_code(case, trackwise):
    mode = "strided" if GOLDEN[f"{case}_mode_strided"] else "first"
    truth_visible, pred_visible = GOLDEN[f"{case}_visible"]
    got = metrics.tap_vid(
        GOLDEN[f"{case}_query_points"][..., 0],  # the vectors' order is (t, y, x)
        GOLDEN[f"{case}_gt_tracks"],
        truth_visible,
        GOLDEN[f"{case}_pred_tracks"],
        pred_visible,
        mode,
        trackwise,
    )
    expected = GOLDEN[f"{case}_{'track' if trackwise else 'video'}"]
    assert list(got) == list(reorder(GOLDEN["keys"])) and len(got) == 13
    for key, value in zip(GOLDEN["keys"], expected, strict=True):
        np.testing.assert_allclose(got[key], value, rtol=0, atol=1e-9, equal_nan=True, err_msg=str(key))


def reorder(keys):
    """Our order of keys: a threshold's two measures together, the averages last."""
    middle = [k for n in metrics.THRESHOLDS for k in (f"pts_within_{n}", f"jaccard_{n}")]
    assert sorted([*middle, *keys[[0, -2, -1]]]) == sorted(keys)
    return [keys[0], *middle, *keys[-2:]]


@pytest.mark.parametrize("name", ["sqfirst", "sqstrided5", "sqstrided3"])
def test_samples_queries_as_published(name):
    xy, visible = GOLDEN["sq_points"], ~GOLDEN["sq_occluded"]
    if name == "sqfirst":
        xyt, rows = metrics.sample_queries_first(xy, visible)
    else:
        xyt, rows = metrics.sample_queries_strided(xy, visible, int(name[-1]))
        np.testing.assert_array_equal(rows, GOLDEN[f"{name}_trackgroup"][0])
    np.testing.assert_array_equal(xyt[:, ::-1], GOLDEN[f"{name}_query_points"][0])
    np.testing.assert_array_equal(xy[rows], GOLDEN[f"{name}_target_points"][0])
    np.testing.assert_array_equal(visible[rows], ~GOLDEN[f"{name}_occluded"][0])


def slow_tap_vid(pred, truth, mode, known):
    """One cell at a time, from the definitions; positions scaled to 256x256."""
    scale = 256 / truth.video.width, 256 / truth.video.height
    same = cells = positives = 0
    right = dict.fromkeys(metrics.THRESHOLDS, 0)
    hits, false = dict(right), dict(right)
    for n in range(len(truth)):
        for t in range(truth.video.frames):
            after = t > truth.queries.t[n] if mode == "first" else t != truth.queries.t[n]
            if not after or not known[n, t]:
                continue
            v, p = bool(truth.visible[n, t]), bool(pred.visible[n, t])
            cells, same, positives = cells + 1, same + (v == p), positives + v
            a, b = pred.xy[n, t].astype(float) * scale, truth.xy[n, t].astype(float) * scale
            for threshold in metrics.THRESHOLDS:
                close = math.dist(a, b) < threshold
                right[threshold] += close and v
                hits[threshold] += close and v and p
                false[threshold] += p and not (close and v)
    out = {"occlusion_accuracy": same / cells}
    for n in metrics.THRESHOLDS:
        out[f"pts_within_{n}"] = right[n] / positives
        out[f"jaccard_{n}"] = hits[n] / (positives + false[n])
    out["average_jaccard"] = sum(out[f"jaccard_{n}"] for n in metrics.THRESHOLDS) / 5
    out["average_pts_within_thresh"] = sum(out[f"pts_within_{n}"] for n in metrics.THRESHOLDS) / 5
    return out


@pytest.mark.parametrize("mode", ["first", "strided"])
@pytest.mark.parametrize("seed", range(5))
def test_equals_slow_reference(seed, mode):
    pred, truth = random_pair(seed)
    known = np.random.default_rng(seed).random(truth.visible.shape) < 0.8
    got = metrics.evaluate(pred, truth, mode, known)
    assert got == pytest.approx(slow_tap_vid(pred, truth, mode, known), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.sampled_from([0.5, 2.0, 3.0]))
def test_scores_do_not_depend_on_order_or_source_size(seed, factor):
    pred, truth = random_pair(seed)
    order = np.random.default_rng(seed).permutation(len(truth))
    w, h = int(truth.video.width * factor), int(truth.video.height * factor)

    def resized(item):
        xyt = item.queries.xyt * [factor, factor, 1]
        return Tracks(item.xy * factor, item.visibility, Queries(xyt), VideoInfo.regular(w, h, item.video.frames))

    expected = metrics.evaluate(pred, truth)
    assert metrics.evaluate(pred[order], truth[order]) == pytest.approx(expected, nan_ok=True)
    assert metrics.evaluate(resized(pred), resized(truth)) == pytest.approx(expected, nan_ok=True)
    assert metrics.survival(resized(pred), resized(truth)) == pytest.approx(metrics.survival(pred, truth))


def test_perfect_predictions_score_one():
    _, truth = random_pair(1)
    assert all(v == 1 for v in metrics.evaluate(truth, truth, "strided").values())
    per_track = metrics.tap_vid(
        truth.queries.t, truth.xy, truth.visible, truth.xy, truth.visible, "strided", trackwise=True
    )
    assert per_track["average_jaccard"].shape == (len(truth),)


def test_mean_leaves_undefined_videos_out(caplog):
    rows = [{"aj": 0.5, "oa": math.nan}, {"aj": math.nan, "oa": math.nan}, {"aj": 1.0, "oa": math.nan}]
    with caplog.at_level("WARNING"):
        got = metrics.mean_scores(rows)
    assert got["aj"] == 0.75 and math.isnan(got["oa"])
    assert "aj is undefined in 1 of 3 videos" in caplog.text


def test_benchmark_queries():
    truth = tracks(np.arange(24).reshape(2, 6, 2), [[0, 1, 1, 1, 1, 1], [0] * 6])
    first = metrics.benchmark_queries(truth)
    assert first.queries.xyt.tolist() == [[2, 3, 1]]
    assert metrics.benchmark_queries(truth, "strided").queries.xyt.tolist() == [[10, 11, 5]]
    with pytest.raises(InputError, match="mode"):
        metrics.benchmark_queries(truth, "second")


# ------------------------------------------------------------------------------------------- trajectories


def test_trajectory_error_is_the_mean_of_medians_from_the_query_on():
    truth = tracks(np.zeros((2, 5, 2)), t=[0, 3], size=(512, 256))
    xy = np.zeros((2, 5, 2))
    xy[0, :, 0] = [0, 2, 4, 6, 200]  # at 256 wide: 0 1 2 3 100
    xy[1, :, 1] = [99, 99, 99, 0, 8]  # before its query: not scored
    assert metrics.trajectory_error(moved(truth, xy), truth) == pytest.approx((2 + 4) / 2)
    known = np.ones((2, 5), bool)
    known[1] = False
    assert metrics.trajectory_error(moved(truth, xy), truth, known) == pytest.approx(2)


def test_survival_ends_with_the_first_failure():
    truth = tracks(np.zeros((3, 5, 2)), t=[0, 0, 2])
    xy = np.zeros((3, 5, 2))
    xy[0, 3, 0] = 50.5  # dead from frame 3 although it comes back
    xy[1, 3, 0] = 50  # not beyond the limit
    xy[2, 4, 0] = 51
    assert metrics.survival(moved(truth, xy), truth) == pytest.approx((3 / 5 + 1 + 2 / 3) / 3)
    known = np.ones((3, 5), bool)
    known[0, 3] = known[2, 4] = False
    assert metrics.survival(moved(truth, xy), truth, known) == 1


def test_error_is_split_by_visibility():
    truth = tracks(np.zeros((1, 4, 2)), [[1, 1, 0, 0]])
    xy = np.zeros((1, 4, 2))
    xy[0, :, 0] = [9, 1, 2, 4]
    assert metrics.error_by_visibility(moved(truth, xy), truth) == {"visible": 1, "occluded": 3}


def test_temporal_coherence_ignores_drift_and_measures_shaking():
    truth = tracks(np.random.default_rng(0).random((2, 6, 2)) * 20, size=(512, 256))
    drift = truth.xy + np.arange(6)[:, None] * np.float32(3)
    assert metrics.temporal_coherence(moved(truth, drift), truth) == pytest.approx(0, abs=1e-5)
    shaking = truth.xy + np.array([0, 1, 0, 1, 0, 1], np.float32)[:, None] * np.array([2, 0], np.float32)
    assert metrics.temporal_coherence(moved(truth, shaking), truth) == pytest.approx(2, abs=1e-5)
    hidden = np.ones((2, 6))
    hidden[:, 2] = 0  # only frames 3, 4, 5 are left
    slow = np.linalg.norm(np.diff(shaking - truth.xy, n=2, axis=1)[:, 3] * [0.5, 1], axis=-1)
    part = Tracks(truth.xy, hidden, truth.queries, truth.video)
    assert metrics.temporal_coherence(moved(part, shaking), part) == pytest.approx(np.mean(slow), rel=1e-4)


def test_flow_disagreement_samples_at_the_points():
    h, w, frames = 20, 30, 4
    y, x = np.mgrid[:h, :w] + 0.5
    flow = np.stack([0.1 * x - 1, 0.05 * y + 0.2], -1)
    xy = np.zeros((3, frames, 2))
    xy[:, 0] = [[10.3, 5.7], [20, 15.5], [8, 2]]
    for t in range(frames - 1):
        xy[:, t + 1] = xy[:, t] + np.stack([0.1 * xy[:, t, 0] - 1, 0.05 * xy[:, t, 1] + 0.2], -1)
    pred = tracks(xy, size=(w, h))
    assert metrics.flow_disagreement(pred, [flow] * 3) == pytest.approx(0, abs=1e-5)
    assert metrics.flow_disagreement(pred, np.stack([flow + np.array([3, 4])] * 3)) == pytest.approx(5, abs=1e-5)
    one = tracks(xy[:1], [[1, 1, 0, 1]], size=(w, h))  # only the step 0 -> 1 has both ends
    assert metrics.flow_disagreement(one, [flow + np.array([1, 0]), flow + 50, flow + 50]) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ShapeError, match=r"flow\[1\]"):
        metrics.flow_disagreement(pred, [flow, flow[1:], flow])


# ------------------------------------------------------------------------------------------- objects


def test_pck_scales_with_the_animal():
    truth = tracks(np.zeros((2, 4, 2)), [[1, 1, 1, 1], [1, 0, 1, 1]])
    xy = np.zeros((2, 4, 2))
    xy[0, :, 0] = [50, 1.9, 2.0, 3]  # the query's frame does not count; below, not at, the limit
    xy[1, :, 0] = [0, 0, 1, 9]
    areas = [100, 100, 100, 400]  # limits 2, 2, 2, 4
    known = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool)
    assert metrics.pck_t(moved(truth, xy), truth, areas, known) == pytest.approx(3 / 4)


def test_in_mask_counts_visible_predictions_on_their_own_object():
    masks = np.zeros((4, 10, 12), np.uint8)
    masks[:, 2:5, 2:5], masks[:, 6:9, 6:9] = 1, 2
    masks[3, 2:5, 2:5] = 255
    start = [[3.5, 3.5], [7.5, 7.5], [0.5, 0.5]]
    xy = np.repeat(np.array(start)[:, None], 4, 1)
    visible = np.ones((3, 4))
    visible[1, 1] = 0
    truth = tracks(xy, visible, size=(12, 10))
    assert metrics.in_mask(truth, masks) == 1  # background and void are not scored
    astray = truth.xy.copy()
    astray[0, 1], astray[0, 2], astray[1, 1] = [7.5, 7.5], [-3, 3], [0, 0]
    # Scored: track 0 in frames 1, 2 (both lost), track 1 in frames 2, 3 (both kept).
    assert metrics.in_mask(moved(truth, astray), masks) == pytest.approx(2 / 4)
    with pytest.raises(ShapeError, match="masks"):
        metrics.in_mask(truth, masks[:3])


def test_a_point_on_the_far_edge_belongs_to_the_last_pixel():
    masks = np.ones((2, 4, 5), np.uint8)
    assert metrics.in_mask(tracks([[[5, 4], [5, 4]]], size=(5, 4)), masks) == 1
