"""Points followed through a video: where they begin, how exactly they go, when they end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trackime.arrays import bilinear
from trackime.dense import DenseConfig, follow
from trackime.dense._observations import Observations
from trackime.dense._seeds import Cells
from trackime.dense._template_tracker import AlivePoints, begin
from trackime.errors import InputError, UnknownNameError
from trackime.patches import GreyFrame
from trackime.trackers import Features, PointTracker
from trackime.types import RaggedTracks
from trackime.video import open_video
from trackime.worlds import Scene, make_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(seed=1, width=160, height=120, frames=12, objects=5, movers=1, path="wander")


@pytest.fixture(scope="module")
def frames(scene: Scene) -> np.ndarray:
    return np.stack([scene.frame(t) for t in range(12)])


@pytest.fixture(scope="module")
def trails(frames: np.ndarray) -> RaggedTracks:
    return follow(open_video(frames), config=DenseConfig(cuts=False))


def errors(scene: Scene, trails: RaggedTracks) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [K] between each sighting and where the point of birth truly is; frames [K] since then."""
    birth = trails.first[:-1]
    body, place = scene.lift(trails.xy[birth].astype(float), trails.frame[birth])
    xy, _, _ = scene.follow(body, place)
    point = trails.point
    return np.linalg.norm(trails.xy - xy[point, trails.frame], axis=1), trails.frame - trails.frame[birth][point]


def test_bad_input() -> None:
    with pytest.raises((InputError, UnknownNameError), match="method"):
        DenseConfig(method="hope")
    with pytest.raises(InputError, match="trackime_points"):
        DenseConfig(trackime_points=-1)
    for spacing in (0.5, 481, float("nan")):
        with pytest.raises(InputError, match="spacing"):
            DenseConfig(spacing=spacing)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (12, 40), (20, 20)])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("method", ["patch", "flow"])
def test_frames_of_any_size_and_number(size: tuple[int, int], count: int, method: str) -> None:
    video = np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)
    video[:] = video[:1]
    found = follow(open_video(video), config=DenseConfig(method))
    assert found.frames == count and len(found)
    assert (found.length == count).mean() > 0.8
    assert ((found.xy >= 0) & (found.xy <= size[::-1])).all()


def test_one_frame_has_trails_of_one_sighting(frames: np.ndarray) -> None:
    found = follow(open_video(frames[:1]))
    assert (found.length == 1).all() and len(found) > 200 and (found.instance == -1).all()


def test_a_frame_without_texture_is_no_error() -> None:
    found = follow(open_video(np.full((4, 64, 80, 3), 90, np.uint8)))
    assert found.frames == 4


def test_points_stay_within_a_fraction_of_a_pixel(scene: Scene, trails: RaggedTracks) -> None:
    error, gap = errors(scene, trails)
    for frames_on, median, wrong in ((1, 0.2, 0.01), (10, 0.25, 0.03)):
        here = error[gap == frames_on]
        assert len(here) > 100 and np.median(here) < median and (here > 3).mean() < wrong


def test_errors_are_what_they_are_said_to_be(scene: Scene, trails: RaggedTracks) -> None:
    error, gap = errors(scene, trails)
    error, sigma = error[gap > 0], trails.sigma[gap > 0]
    for low, high in ((0, 0.1), (0.1, 0.25), (0.25, 1)):
        within = (sigma >= low) & (sigma < high)
        mean = np.minimum(error[within], 8).mean() * 0.8
        assert within.sum() > 200 and 0.4 * sigma[within].mean() < mean < 2.5 * sigma[within].mean()


def test_patches_beat_chained_flow(scene: Scene, frames: np.ndarray, trails: RaggedTracks) -> None:
    chained = follow(open_video(frames), config=DenseConfig("flow", cuts=False))
    (ours, gap), (theirs, other) = errors(scene, trails), errors(scene, chained)
    assert np.median(ours[gap == 10]) < 0.6 * np.median(theirs[other == 10])
    assert (ours[gap == 10] > 1).mean() < (theirs[other == 10] > 1).mean()


def test_every_frame_is_covered(frames: np.ndarray, trails: RaggedTracks) -> None:
    cells = Cells(frames.shape[1:3], 4.0)
    wide = Cells(frames.shape[1:3], 16.0)
    for t in range(len(frames)):
        xy = trails.xy[trails.at(t)[1]]
        assert len(xy) > 0.4 * len(cells)
        assert len(np.unique(wide.of(xy))) > 0.9 * len(wide)


def test_no_point_crosses_a_cut_and_progress_is_told() -> None:
    cut = make_scene(seed=3, width=80, height=60, frames=8, objects=2, movers=0, relief=0, cut=True)
    told: list[tuple[str, int, int]] = []
    found = follow(open_video(cut.video), progress=lambda *step: told.append(step))
    start = cut.starts[1]
    birth, last = found.frame[found.first[:-1]], found.frame[found.first[1:] - 1]
    assert ((last < start) | (birth >= start)).all() and (birth >= start).any() and (last < start).any()
    assert [step for step in told if step[0] == "following"] == [("following", t + 1, 8) for t in range(8)]
    half = follow(open_video(cut.video[:start]), config=DenseConfig(cuts=False))
    assert (found.xy[: len(half.xy)] == half.xy).all()


def test_what_comes_later_changes_nothing_before(frames: np.ndarray, trails: RaggedTracks) -> None:
    fewer = follow(open_video(frames[:8]), config=DenseConfig(cuts=False))
    early = {(int(t), *map(float, p)) for t, p in zip(trails.frame, trails.xy, strict=True) if t < 8}
    assert {(int(t), *map(float, p)) for t, p in zip(fewer.frame, fewer.xy, strict=True)} <= early


def test_a_point_covered_for_two_frames_comes_back() -> None:
    rng = np.random.default_rng(0)
    wall = np.repeat(np.repeat(rng.integers(40, 220, (24, 32, 1)), 5, 0), 5, 1).repeat(3, 2).astype(np.uint8)
    video = np.stack([wall] * 8)
    video[3:5, 40:80, 60:100] = rng.integers(0, 256, (40, 40, 3), np.uint8)
    found = follow(open_video(video), config=DenseConfig(cuts=False))
    born_first = found.frame[found.first[:-1]] == 0
    middle = (np.abs(found.xy[found.first[:-1]] - (80, 60)) < 10).all(1) & born_first
    assert middle.sum() > 3
    for n in np.flatnonzero(middle):
        seen = set(found.frame[found.first[n] : found.first[n + 1]].tolist())
        assert not seen & {3, 4}
    assert sum({6, 7} <= set(found.frame[found.first[n] : found.first[n + 1]].tolist()) for n in np.flatnonzero(middle))


def test_large_frames_are_followed_small_and_given_back_large(frames: np.ndarray, monkeypatch) -> None:
    from trackime.video import pictures

    monkeypatch.setattr(pictures, "LARGEST", 80 * 60)
    found = follow(open_video(frames[:4]), config=DenseConfig(cuts=False))
    assert found.xy[:, 0].max() > 140 and found.xy[:, 1].max() > 100
    np.testing.assert_allclose(found.sigma[found.first[:-1]], 0.1)  # half a tenth of a pixel where it was followed


def test_a_flow_is_read_between_its_pixels() -> None:
    field = np.random.default_rng(0).normal(size=(5, 7, 2)).astype(np.float32)
    xy = np.random.default_rng(1).uniform(-1, 8, (200, 2)).astype(np.float32)
    for place, got in zip(xy, bilinear(field, xy), strict=True):
        u, v = np.clip(place[0] - 0.5, 0, 6), np.clip(place[1] - 0.5, 0, 4)
        share = np.maximum(0, 1 - np.abs(v - np.arange(5)))[:, None] * np.maximum(0, 1 - np.abs(u - np.arange(7)))
        np.testing.assert_allclose(got, (share[..., None] * field).sum((0, 1)), atol=1e-5)
    assert bilinear(field[:1, :1], xy).shape == (200, 2)


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (48, 64), (33, 50)])
def test_cells_hold_every_place_once_and_new_points_keep_away(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    cells = Cells(size, 8.0)
    h, w = size
    xy = rng.uniform((0, 0), (w, h), (300, 2))
    assert set(cells.of(xy)) <= set(range(len(cells))) and (cells.of(np.array([[w, h], [0, 0]])) >= 0).all()
    assert (cells.of(np.array([[-0.1, 0], [0, h + 0.1]])) == -1).all()
    grey = rng.integers(0, 256, size).astype(np.uint8)
    fresh = cells.corners(grey, np.zeros((0, 2)))
    assert sorted(cells.of(fresh)) == list(range(len(cells)))
    known = xy[:5]
    more = cells.corners(grey, known)
    assert not set(cells.of(more)) & set(cells.of(known))
    if len(more):
        assert np.linalg.norm(more[:, None] - known, axis=2).min() > 2


def test_new_points_keep_away_from_where_flow_breaks() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
    flow = np.zeros((48, 64, 2), np.float32)
    flow[:, 32:, 0] = 3
    found = Cells((48, 64), 16.0).corners(grey, np.zeros((0, 2)), flow)
    assert len(found) == 12 and (np.abs(found[:, 0] - 32) > 4).all()
    narrow = Cells((48, 64), 4.0).corners(grey, np.zeros((0, 2)), flow)
    assert len(narrow) == 12 * 16  # still where a cell has nothing else


def test_sightings_become_trails() -> None:
    rng = np.random.default_rng(0)
    sightings = Observations(5)
    truth: dict[int, list[tuple[int, tuple[float, float]]]] = {}
    numbers = sightings.begin(4)
    for t in range(5):
        here = numbers[rng.random(4) < 0.6]
        xy = rng.uniform(0, 9, (len(here), 2)).astype(np.float32)
        sightings.add(t, here, xy, np.ones(len(here)))
        for n, p in zip(here, xy, strict=True):
            truth.setdefault(int(n), []).append((t, tuple(p.tolist())))
    for least in (1, 3):
        found = sightings.tracks(least)
        got = [
            [(int(t), tuple(p.tolist())) for t, p in zip(found.frame[a:b], found.xy[a:b], strict=True)]
            for a, b in zip(found.first[:-1], found.first[1:], strict=True)
        ]
        assert got == [truth[n] for n in sorted(truth) if len(truth[n]) >= least]
    assert len(Observations(3).tracks()) == 0


def test_live_points_are_taken_and_joined_in_step() -> None:
    frame = GreyFrame(np.random.default_rng(0).integers(0, 256, (30, 40)).astype(np.uint8), 1)
    two = begin(np.array([3, 5]), np.array([[5, 6], [20, 9]], np.float32), frame)
    both = AlivePoints.none().join(two).join(begin(np.array([9]), np.array([[30, 20]], np.float32), frame))
    assert both.number.tolist() == [3, 5, 9] and len(both.take(np.array([True, False, True]))) == 2
    assert (both.take(np.array([1])).templates.patch == two.templates.patch[1:]).all()


def test_points_asked_for_are_added_and_lost_ones_go_on(frames: np.ndarray, trails: RaggedTracks) -> None:
    class Still(PointTracker):
        """Says that everything rests, seen in every second frame from the query on, at the query's place."""

        name = "still"

        def __init__(self) -> None:
            self.device = torch.device("cpu")

        def encode(self, frames: torch.Tensor) -> Features:
            return Features({"frames": [list(clip[:, 0, 0, 0]) for clip in frames]}, tuple(frames.shape[-2:]))

        def open(self, queries: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, int]:
            return queries, 0

        def advance(self, state, features: Features):
            queries, t = state
            count = features.frames
            xy = queries[:, :, None, :2].repeat(1, 1, count, 1)
            seen = (t + torch.arange(count) - queries[..., 2:]) % 2 == 0
            return xy, seen.float(), (queries, t + count)

    config = DenseConfig(cuts=False, trackime_points=20)
    found = follow(open_video(frames), config=config, tracker=Still(), segmenter="graphcut", device="cpu")
    n = len(trails)
    assert len(found) == n + 10
    longer = np.flatnonzero(found.length[:n] > trails.length)
    assert 0 < len(longer) <= 10
    for k in longer:
        old, new = slice(*trails.first[k : k + 2]), slice(*found.first[k : k + 2])
        more = int(trails.length[k])
        assert (found.xy[new][:more] == trails.xy[old]).all() and (found.frame[new][:more] == trails.frame[old]).all()
        assert (found.frame[new][more:] - trails.frame[old][-1]).tolist() == [
            2 * (m + 1) for m in range(found.length[k] - more)
        ]
        assert (found.sigma[new][more:] > trails.sigma[old][-1]).all()
    same = np.setdiff1d(np.arange(n), longer)
    assert (found.length[same] == trails.length[same]).all()
    asked = found.take(np.arange(n, n + 10))
    assert (asked.length >= 5).all() and (np.ptp(asked.xy[asked.point == 0], axis=0) < 1e-3).all()
