"""What trackers promise, whatever they are made of (see trackime/trackers/base.py), on those that need no weights.

Networks whose weights mean nothing cannot be asked to follow a translation: their own tests have the rest.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from benchmarks.networks import NETWORKS
from tests.trackers.textures import H, T, W, covered, shifting
from trackime import trackers
from trackime.errors import InputError, ShapeError

WEIGHTLESS = [name for name in trackers.names() if name not in NETWORKS]
WINDOWED = {"trackime-s"}
"""Look both ways in time: they are fed windows of their own length, not chunks of any (their own tests do that)."""


@cache
def make(name: str) -> trackers.PointTracker:
    return trackers.create(name)


@pytest.fixture(params=WEIGHTLESS)
def tracker(request: pytest.FixtureRequest) -> trackers.PointTracker:
    return make(request.param)


QUERIES = torch.tensor([[[40.5, 30.5, 0], [64.2, 48.7, 4], [20.0, 80.0, 8], [90.3, 45.1, 2], [70.0, 41.0, 0]]])


def test_shapes_and_ranges(tracker: trackers.PointTracker) -> None:
    xy, visibility = tracker.track(covered(), QUERIES)
    assert xy.shape == (1, 5, T, 2)
    assert visibility.shape == (1, 5, T)
    assert xy.device == visibility.device == tracker.device
    assert xy.isfinite().all()
    assert ((visibility >= 0) & (visibility <= 1)).all()


def test_no_queries_and_no_clips_of_one_frame_fail(tracker: trackers.PointTracker) -> None:
    xy, visibility = tracker.track(covered(), torch.zeros(1, 0, 3))
    assert xy.shape == (1, 0, T, 2)
    assert visibility.shape == (1, 0, T)
    query = torch.tensor([[[10.0, 20.0, 0.0]]])
    xy, visibility = tracker.track(covered(1), query)
    assert torch.equal(xy[0, :, 0], query[0, :, :2])
    assert visibility[0, 0, 0] > 0.5


def test_the_query_frame_returns_the_query(tracker: trackers.PointTracker) -> None:
    xy, visibility = tracker.track(covered(), QUERIES)
    for n, (x, y, t) in enumerate(QUERIES[0].tolist()):
        assert xy[0, n, int(t)].tolist() == pytest.approx([x, y], abs=1e-5)
        assert visibility[0, n, int(t)] > 0.5


def test_before_its_query_a_point_rests_hidden(tracker: trackers.PointTracker) -> None:
    features = tracker.encode(covered())
    xy, visibility, _ = tracker.advance(tracker.open(QUERIES, features.size), features)
    for n, (x, y, t) in enumerate(QUERIES[0].tolist()):
        torch.testing.assert_close(xy[0, n, : int(t)], torch.tensor([x, y]).expand(int(t), 2))
        assert (visibility[0, n, : int(t)] == 0).all()


def test_who_is_fed_windows(tracker: trackers.PointTracker) -> None:
    assert (tracker.max_frames is not None) == (tracker.name in WINDOWED)


@pytest.mark.parametrize("name", [name for name in WEIGHTLESS if name not in WINDOWED])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_chunks_change_nothing(name: str, size: int) -> None:
    tracker, video = make(name), covered()
    features = tracker.encode(video)
    whole = tracker.advance(tracker.open(QUERIES, features.size), features)
    state, parts = tracker.open(QUERIES, features.size), []
    for t0 in range(0, T, size):
        # Encoded anew, as the driver of long videos does.
        chunk = tracker.encode(video[:, max(0, t0 - tracker.overlap) : t0 + size])
        xy, visibility, state = tracker.advance(state, chunk)
        parts.append((xy, visibility))
    assert torch.equal(torch.cat([p[0] for p in parts], 2), whole[0])
    assert torch.equal(torch.cat([p[1] for p in parts], 2), whole[1])


def test_order_and_number_of_points_change_nothing(tracker: trackers.PointTracker) -> None:
    features = tracker.encode(covered())
    xy, visibility = tracker.track_features(features, QUERIES)
    order = [3, 0, 4, 2, 1]
    other_xy, other_visibility = tracker.track_features(features, QUERIES[:, order])
    assert torch.equal(other_xy, xy[:, order])
    assert torch.equal(other_visibility, visibility[:, order])
    for n in range(5):
        alone_xy, alone_visibility = tracker.track_features(features, QUERIES[:, n : n + 1])
        assert torch.equal(alone_xy, xy[:, n : n + 1])
        assert torch.equal(alone_visibility, visibility[:, n : n + 1])


def test_a_batch_is_its_clips(tracker: trackers.PointTracker) -> None:
    clips = [covered(), shifting(2, 1)]
    queries = [QUERIES, QUERIES.flip(1)]
    xy, visibility = tracker.track(torch.cat(clips), torch.cat(queries))
    for b in range(2):
        alone_xy, alone_visibility = tracker.track(clips[b], queries[b])
        torch.testing.assert_close(xy[b : b + 1], alone_xy, rtol=0, atol=1e-3)
        torch.testing.assert_close(visibility[b : b + 1], alone_visibility, rtol=0, atol=1e-3)


def test_reversing_the_video_reverses_the_tracks(tracker: trackers.PointTracker) -> None:
    video = covered()
    mirrored = torch.stack([QUERIES[..., 0], QUERIES[..., 1], T - 1 - QUERIES[..., 2]], -1)
    xy, visibility = tracker.track(video, QUERIES)
    back_xy, back_visibility = tracker.track(video.flip(1), mirrored)
    torch.testing.assert_close(back_xy.flip(2), xy, rtol=0, atol=1e-4)
    torch.testing.assert_close(back_visibility.flip(2), visibility, rtol=0, atol=1e-4)


def test_a_still_video_stays(tracker: trackers.PointTracker) -> None:
    video = shifting(0, 0)
    xy, visibility = tracker.track(video, QUERIES)
    away = (xy - QUERIES[:, :, None, :2]).norm(dim=-1).max()
    assert away < (0.1 if tracker.input_size is None else 1.0)
    assert (visibility > 0.5).all()


def test_translation_is_recovered(tracker: trackers.PointTracker) -> None:
    video = shifting(2, -1)
    queries = torch.tensor([[[50.5, 50.5, 0], [60.2, 40.7, 4], [45.0, 60.0, 2], [70.5, 45.5, 8]]])
    xy, visibility = tracker.track(video, queries)
    step = torch.arange(T)[None] - queries[0, :, 2:]
    true = queries[0, :, None, :2] + step[..., None] * torch.tensor([2.0, -1.0])
    error = (xy[0] - true).norm(dim=-1).max()
    assert error < (0.2 if tracker.input_size is None else 0.015 * (H + W))
    assert (visibility > 0.5).all()


def test_a_point_that_leaves_the_frame_is_not_visible(tracker: trackers.PointTracker) -> None:
    xy, visibility = tracker.track(shifting(6, 0), torch.tensor([[[100.5, 48.5, 0]]]))
    assert visibility[0, 0, -1] <= 0.5
    assert xy.isfinite().all()


def test_points_at_and_beyond_the_border(tracker: trackers.PointTracker) -> None:
    places = [(0, 0), (W, H), (0.5, H - 0.5), (W, 0), (-5, 20), (W + 40, H + 40), (-1e4, 1e4)]
    queries = torch.tensor([[[x, y, t] for x, y in places for t in (0.0, 4.0)]])
    xy, visibility = tracker.track(covered(), queries)
    assert xy.isfinite().all()
    assert ((visibility >= 0) & (visibility <= 1)).all()


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_video_is_finite(tracker: trackers.PointTracker, level: float) -> None:
    xy, visibility = tracker.track(torch.full((1, 4, 3, H, W), level), QUERIES.clamp(max=3))
    assert xy.isfinite().all()
    assert visibility.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 200)])
def test_small_and_odd_frames(tracker: trackers.PointTracker, size: tuple[int, int]) -> None:
    video = torch.rand(1, 3, 3, *size, generator=torch.Generator().manual_seed(0))
    xy, visibility = tracker.track(video, torch.tensor([[[0.5, 0.5, 0.0], [size[1], size[0], 1.0]]]))
    assert xy.isfinite().all()
    assert visibility.isfinite().all()


def test_wrong_shapes_are_refused(tracker: trackers.PointTracker) -> None:
    with pytest.raises(ShapeError, match=r"frames: expected shape \[B, T, 3, h, w\], got \[9, 3, 96, 128\]"):
        tracker.track(covered()[0], QUERIES)
    with pytest.raises(ShapeError, match="queries"):
        tracker.track(covered(), QUERIES[0])


@pytest.mark.parametrize("name", WEIGHTLESS)
def test_wrong_options_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="toaster"):
        trackers.create(name, device="toaster")
    with pytest.raises(InputError, match="takes no 'colour'"):
        trackers.create(name, colour="red")
