"""TrackIME runs around everything registered; weights follow from their names, networks are small where they can be."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import networks
from tests.conftest import HalfPlanes
from tests.golden import filled
from trackime import segmenters, trackers
from trackime.checkpoints import CHECKPOINTS
from trackime.errors import InputError, ShapeError
from trackime.geometry import to_torch
from trackime.ime import ImeConfig, TrackResult, run
from trackime.ime._drive import View, drive
from trackime.segmenters import PointSegmenter, sam
from trackime.trackers import Features, PointTracker
from trackime.types import Queries
from trackime.video import open_video
from trackime.worlds import make_world

SIZE = (72, 56)
FRAMES = 3
ASKED = Queries([[20.5, 20.5, 0], [50.0, 28.0, 2]])
CONFIG = ImeConfig(windows_px=(48,), neighbours=3, cuts=False)


def follow(tracker: PointTracker, segmenter: PointSegmenter) -> TrackResult:
    world = make_world(seed=0, width=SIZE[0], height=SIZE[1], frames=FRAMES, objects=2)
    return run(open_video(world.video), ASKED, tracker, segmenter, CONFIG)


def check(result: TrackResult) -> None:
    tracks = result.tracks
    assert set(result.rows) == {"none", "im", "im_fusion", "im_clip", "all"}
    for xy, visibility in result.rows.values():
        assert np.isfinite(xy).all()
        assert ((visibility >= 0) & (visibility <= 1)).all()
    rows, t = np.arange(len(ASKED)), ASKED.t
    np.testing.assert_allclose(tracks.xy[rows, t], ASKED.xy, atol=1e-4)
    assert (tracks.visibility[rows, t] == 1).all()
    assert (tracks.queries.instance >= 0).all()
    assert result.operations.window_frames_encoded > 0


SMALL = {
    "tapir": {"max_frames": 5, "overlap": 2},
    "bootstapir": {"max_frames": 5, "overlap": 2},
    "locotrack-small": {"max_frames": 5, "overlap": 2},
    "locotrack-base": {"max_frames": 5, "overlap": 2},
    "cotracker3": {"input_size": (48, 64), "support_grid": 2, "iterations": 2, "window": 5, "overlap": 2},
    "cotracker3-online": {"input_size": (48, 64), "support_grid": 2, "iterations": 1},
    "trackime-s": {"input_size": (48, 64)},
    "pips": {"input_size": (64, 80), "iterations": 2, "max_frames": 9},
    "pips2": {"input_size": (64, 80), "iterations": 2, "max_frames": 10, "check_iterations": 1},
}
"""Options that make a tracker cheap, and its windows short: what is asked here does not depend on them."""


SAME = {"bootstapir": "tapir", "causal-bootstapir": "tapir", "tapnet": "tapir"}
"""Trackers that take the weights of another: BootsTAPIR's network is TAPIR's with more layers, told from the shapes."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a learned tracker's weights."""

    @cache
    def file(name: str) -> Path:
        return networks.checkpoint(name, tmp_path_factory.mktemp("weights"))

    return lambda name: file(SAME.get(name, name))


def make(name: str, weights: Callable[[str], Path]) -> PointTracker:
    path = f":{weights(name)}" if name in networks.NETWORKS else ""
    tracker = trackers.create(name + path, **SMALL.get(name, {}))
    if name == "cotracker3-online":  # every window is filled up to its 16 frames: all of the time would go there
        tracker.max_frames, tracker.overlap = 5, 2
    return tracker


@pytest.mark.parametrize("name", trackers.names())
def test_tracker(name: str, weights: Callable[[str], Path]) -> None:
    assert (name in networks.NETWORKS) == (name in CHECKPOINTS)
    check(follow(make(name, weights), HalfPlanes()))


@pytest.mark.parametrize("name", list(networks.NETWORKS))
def test_wrong_options_are_told_before_weights_are_looked_for(name: str) -> None:
    with pytest.raises(InputError, match="query_chunk: expected 1 or more, got 0"):
        trackers.create(f"{name}:/nowhere.pt", query_chunk=0)
    with pytest.raises(InputError, match="device: expected auto"):
        trackers.create(f"{name}:/nowhere.pt", device="gpu")


# ---- the contract of trackers (trackime/trackers/base.py)

QUERIES = torch.tensor(
    [[[20.5, 20.5, 0], [50.0, 30.0, 2], [36.0, 28.0, 1]], [[9.0, 40.2, 1], [70.0, 3.0, 0], [-3, 60, 2]]]
)
"""Of two clips; in the first and in the last frame, and one outside of the frame."""
LONG = 11
"""Frames of a clip that is longer than any window."""


class Clip:
    """A video whose frames hold their number; `encode` gives the features of a short clip's frames, in turns.

    So long videos can be followed without an encoder's cost.
    """

    def __init__(self, features: Features, length: int) -> None:
        self.frames = np.zeros((length, *features.size, 3), np.uint8)
        self.frames[:] = np.arange(length, dtype=np.uint8)[:, None, None, None]
        self.features = features

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, t0: int, t1: int) -> np.ndarray:
        return self.frames[t0:t1]

    def encode(self, frames: Tensor) -> Features:
        which = (frames[0, :, 0, 0, 0] * 255).round().long() % self.features.frames
        return Features({k: v[:1, which] for k, v in self.features.data.items()}, self.features.size)


def close(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    """xy within 1e-3 px, or a hundred thousandth of positions that weights without a meaning send far off."""
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-3)


def check_tracks(tracks: tuple[Tensor, ...], queries: Tensor, frames: int) -> None:
    xy, visibility = tracks
    assert xy.shape == (*queries.shape[:2], frames, 2)
    assert visibility.shape == xy.shape[:3]
    assert xy.isfinite().all()
    assert ((visibility >= 0) & (visibility <= 1)).all()
    at = queries[..., 2].long()[..., None]
    torch.testing.assert_close(xy.gather(2, at[..., None].expand(-1, -1, -1, 2))[:, :, 0], queries[..., :2])
    assert (visibility.gather(2, at) == 1).all()


@pytest.mark.parametrize("name", list(networks.NETWORKS))
def test_contract(name: str, weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = make(name, weights)
    worlds = [make_world(seed=seed, width=SIZE[0], height=SIZE[1], frames=FRAMES, objects=2) for seed in (0, 1)]
    clips = torch.stack([to_torch(np.stack([w.frame(t) for t in range(FRAMES)])) for w in worlds])
    both = tracker.encode(clips)
    assert both.size == (SIZE[1], SIZE[0])
    one = Features({k: v[1:] for k, v in both.data.items()}, both.size)
    tracks = tracker.track_features(both, QUERIES)
    check_tracks(tracks, QUERIES, FRAMES)
    # Nothing to follow, one frame, queries in the last frame alone.
    check_tracks(tracker.track_features(both, torch.zeros(2, 0, 3)), torch.zeros(2, 0, 3), FRAMES)
    first, last = (QUERIES * torch.tensor([1, 1, 0]) + torch.tensor([0, 0, t]) for t in (0, FRAMES - 1))
    check_tracks(tracker.track_features(both.window(0, 1), first), first, 1)
    check_tracks(tracker.track_features(both, last), last, FRAMES)
    # A clip by itself is what it is in a batch, and the order of points changes nothing.
    close(tracker.track(clips[1:], QUERIES[1:]), tuple(part[1:] for part in tracks))
    order = torch.tensor([2, 0, 1])
    close(tracker.track_features(one, QUERIES[1:, order]), tuple(part[1:, order] for part in tracks))
    # In the order of travel a point rests hidden until its query; wrong chunks are told.
    xy, visibility, _ = tracker.advance(tracker.open(QUERIES, both.size), both)
    check_tracks((xy, visibility), QUERIES, FRAMES)
    before = torch.arange(FRAMES) < QUERIES[..., 2:]
    torch.testing.assert_close(xy[before], QUERIES[:, :, None, :2].expand_as(xy)[before])
    assert (visibility[before] == 0).all()
    for wrong in (one, both.window(0, 0)):
        with pytest.raises(ShapeError, match="features: expected"):
            tracker.advance(tracker.open(QUERIES, both.size), wrong)
    # A clip of several windows; the driver of long videos says the same.
    long = Clip(both, LONG)
    monkeypatch.setattr(tracker, "encode", long.encode)
    asked = QUERIES[:1].clone()
    asked[0, 1:, 2] = torch.tensor([len(long) - 1, 7])
    whole = tracker.track(to_torch(long.frames)[None], asked)
    check_tracks(whole, asked, len(long))
    [driven] = drive(tracker, long, [View(asked[0].numpy(), None, both.size)], chunk=4)
    close(tuple(torch.from_numpy(part)[None] for part in driven), whole)


@pytest.mark.parametrize("name", segmenters.names())
def test_segmenter(name: str, tmp_path: Path) -> None:
    if name not in CHECKPOINTS:
        return check(follow(trackers.create("lk"), segmenters.create(name)))
    pytest.importorskip("transformers")
    if name == "mobile-sam" or name.startswith("sam-vit"):
        vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "global_attn_indexes": [1]}
        network = sam._mobile_sam() if name == "mobile-sam" else sam._sam(vision)
        torch.save(filled(network), tmp_path / "weights.pt")
        return check(follow(trackers.create("lk"), segmenters.create(f"{name}:{tmp_path / 'weights.pt'}")))
    from tests.segmenters.small_networks import build, timm_stand_in

    with timm_stand_in():
        build("sam2.1-tiny" if name.startswith("sam2") else name).save_pretrained(tmp_path)
        return check(follow(trackers.create("lk"), segmenters.create(f"{name}:{tmp_path}")))
