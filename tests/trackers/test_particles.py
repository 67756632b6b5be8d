"""What PIPs and PIPs++ both promise as trackers. With damped weights, so that rounding is not amplified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.trackers.particles import OraclePips, OraclePips2, grey, network, video
from trackime import trackers
from trackime.errors import FormatError, InputError, ShapeError
from trackime.ime._drive import View, drive
from trackime.trackers._particles import ParticleTracker
from trackime.trackers.pips import Pips, PipsOptions
from trackime.trackers.pips2 import Pips2, Pips2Options

H, W, T = 72, 100, 6
QUERIES = torch.tensor([[[40.5, 30.5, 0], [64.2, 48.7, 3], [20.0, 60.0, 5], [90.3, 45.1, 3]]])
KINDS = {"pips": (Pips, PipsOptions), "pips2": (Pips2, Pips2Options)}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[..., ParticleTracker]:
    def build(**options: object) -> ParticleTracker:
        cheap = {"check_iterations": 1} if request.param == "pips2" else {}
        options = {"input_size": (64, 80), "iterations": 2} | cheap | options
        tracker, chosen = KINDS[request.param]
        return tracker(network(request.param, damped=True), chosen(**options))  # type: ignore[arg-type]

    return build


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """[1, T, 3, H, W]"""
    return F.interpolate(video("pips2")[:T], (H, W), mode="bilinear")[None]


def test_contract(make: Callable[..., ParticleTracker], clip: Tensor) -> None:
    tracker = make()
    features = tracker.encode(clip)
    xy, visibility = tracker.track_features(features, QUERIES)
    assert xy.shape == (1, 4, T, 2) and visibility.shape == (1, 4, T)
    assert xy.isfinite().all() and ((visibility >= 0) & (visibility <= 1)).all()
    for n, (x, y, t) in enumerate(QUERIES[0].tolist()):
        assert xy[0, n, int(t)].tolist() == [pytest.approx(x), pytest.approx(y)]
        assert visibility[0, n, int(t)] == 1
    again_xy, again_visibility = tracker.track(clip, QUERIES)
    assert torch.equal(again_xy, xy) and torch.equal(again_visibility, visibility)
    # Forward alone a point rests before its query.
    forward_xy, forward_visibility, _ = tracker.advance(tracker.open(QUERIES, features.size), features)
    torch.testing.assert_close(forward_xy[0, 1, :3], QUERIES[0, 1, :2].expand(3, 2))
    assert (forward_visibility[0, 1, :3] == 0).all()
    assert not torch.equal(xy[0, 1, :3], forward_xy[0, 1, :3])


def test_order_and_chunks_of_points_change_nothing(make: Callable[..., ParticleTracker], clip: Tensor) -> None:
    features = make().encode(clip)
    xy, visibility = make().track_features(features, QUERIES)
    order = [3, 0, 2, 1]
    other_xy, other_visibility = make(query_chunk=1).track_features(features, QUERIES[:, order])
    assert torch.equal(other_xy, xy[:, order])
    assert torch.equal(other_visibility, visibility[:, order])
    alone_xy, alone_visibility = make().track_features(features, QUERIES[:, 1:2])
    assert torch.equal(alone_xy, xy[:, 1:2])
    assert torch.equal(alone_visibility, visibility[:, 1:2])


def test_reversing_the_video_reverses_the_tracks(make: Callable[..., ParticleTracker], clip: Tensor) -> None:
    mirrored = torch.stack([QUERIES[..., 0], QUERIES[..., 1], T - 1 - QUERIES[..., 2]], -1)
    tracker = make()
    features = tracker.encode(clip)
    xy, visibility = tracker.track_features(features, QUERIES)
    back_xy, back_visibility = tracker.track_features(features.flip(), mirrored)
    torch.testing.assert_close(back_xy.flip(2), xy, rtol=0, atol=1e-4)
    torch.testing.assert_close(back_visibility.flip(2), visibility, rtol=0, atol=1e-4)


def test_a_batch_is_its_clips(make: Callable[..., ParticleTracker], clip: Tensor) -> None:
    tracker = make(iterations=1)
    clips, queries = [clip, clip.flip(-1)], [QUERIES, QUERIES.flip(1)]
    xy, visibility = tracker.track(torch.cat(clips), torch.cat(queries))
    for b in range(2):
        alone_xy, alone_visibility = tracker.track(clips[b], queries[b])
        torch.testing.assert_close(xy[b : b + 1], alone_xy, rtol=0, atol=1e-3)
        torch.testing.assert_close(visibility[b : b + 1], alone_visibility, rtol=0, atol=1e-3)


def test_pixels_are_those_of_the_frames_given(make: Callable[..., ParticleTracker], clip: Tensor) -> None:
    tracker = make(iterations=1)
    small = F.interpolate(clip[0], (64, 80), mode="bilinear", align_corners=False)[None]
    scale = torch.tensor([80 / W, 64 / H])
    scaled = torch.cat([QUERIES[..., :2] * scale, QUERIES[..., 2:]], -1)
    xy, visibility = tracker.track(clip, QUERIES)
    small_xy, small_visibility = tracker.track(small, scaled)
    torch.testing.assert_close(xy * scale, small_xy, rtol=0, atol=1e-3)
    torch.testing.assert_close(visibility, small_visibility, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 200)])
def test_frames_of_any_size(make: Callable[..., ParticleTracker], size: tuple[int, int]) -> None:
    frames = torch.rand(1, 3, 3, *size, generator=torch.Generator().manual_seed(0))
    queries = torch.tensor([[[0.5, 0.5, 0.0], [size[1], size[0], 1.0], [-1e4, 1e4, 2.0]]])
    xy, visibility = make(iterations=1).track(frames, queries)
    assert xy.isfinite().all() and visibility.isfinite().all()


@pytest.mark.parametrize("frames", [1, 2])
def test_few_frames_and_no_points(make: Callable[..., ParticleTracker], clip: Tensor, frames: int) -> None:
    tracker = make()
    xy, visibility = tracker.track(clip[:, :frames], torch.zeros(1, 0, 3))
    assert xy.shape == (1, 0, frames, 2) and visibility.shape == (1, 0, frames)
    query = torch.tensor([[[10.0, 20.0, 0.0], [30.0, 20.0, frames - 1.0]]])
    xy, visibility = tracker.track(clip[:, :frames], query)
    assert torch.equal(xy[0, 0, 0], query[0, 0, :2]) and visibility[0, 1, -1] == 1
    assert xy.isfinite().all()


def test_a_flat_video_is_finite(make: Callable[..., ParticleTracker]) -> None:
    xy, visibility = make().track(torch.full((1, 4, 3, H, W), 0.5), QUERIES.clamp(max=3))
    assert xy.isfinite().all() and visibility.isfinite().all()


def test_nothing_needs_a_gradient(make: Callable[..., ParticleTracker], clip: Tensor) -> None:
    xy, visibility = make(iterations=1).track(clip[:, :3].clone().requires_grad_(), QUERIES[:, :1])
    assert not xy.requires_grad and not visibility.requires_grad


def test_wrong_shapes_are_refused(make: Callable[..., ParticleTracker], clip: Tensor) -> None:
    tracker = make()
    with pytest.raises(ShapeError, match=r"frames: expected shape \[B, T, 3, h, w\]"):
        tracker.track(clip[0], QUERIES)
    with pytest.raises(ShapeError, match=r"frames: expected shape \[B, T, 3, h, w\]"):
        tracker.encode(clip[0])
    with pytest.raises(ShapeError, match="queries"):
        tracker.track(clip, QUERIES[0])
    with pytest.raises(ShapeError, match="queries"):
        tracker.open(QUERIES[0], (H, W))
    features = tracker.encode(clip[:, :2])
    with pytest.raises(ShapeError, match="1 clips"):
        tracker.advance(tracker.open(QUERIES, (H, W)), tracker.encode(torch.cat([clip[:, :1]] * 2)))
    _, _, state = tracker.advance(tracker.open(QUERIES, (H, W)), features)
    with pytest.raises(ShapeError, match="overlap"):
        tracker.advance(state, features)


@pytest.mark.parametrize(
    "options",
    [{"input_size": (60, 77)}, {"input_size": (16, 64)}, {"query_chunk": 0}, {"iterations": 0}, {"max_frames": 2}],
)
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    for kind in (PipsOptions, Pips2Options):
        with pytest.raises(InputError, match=next(iter(options))):
            kind(**({"input_size": (64, 64)} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KINDS)
def test_the_registry_makes_them(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="toaster"):
        trackers.create(name, device="toaster")
    with pytest.raises(InputError, match="takes no 'colour'"):
        trackers.create(name, colour="red")
    other = {k: v for k, v in network(name, damped=True).fnet.state_dict(prefix="fnet.").items()}
    torch.save(other | {"fnet.conv1.bias": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(FormatError, match=rf"weights of {name} do not fit: .*missing.*1 of another shape"):
        trackers.create(f"{name}:{tmp_path / 'other.pt'}")


class Reader:
    """Frames in memory, as `drive` reads them."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, t0: int, t1: int) -> np.ndarray:
        return self.frames[t0:t1]


@pytest.mark.parametrize("kind", [Pips, Pips2])
def test_the_driver_feeds_what_track_does(kind: type[Pips] | type[Pips2]) -> None:
    oracle = OraclePips(hidden=(40, 41)) if kind is Pips else OraclePips2()
    options = (PipsOptions if kind is Pips else Pips2Options)(input_size=(64, 64), max_frames=20)
    tracker = kind(oracle, options)  # type: ignore[arg-type]
    frames = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None, None], (100, 64, 64, 3))
    queries = np.array([[30, 40, 0], [30, 40, 30], [50, 33, 98], [50, 33, 99]], np.float32)
    ((xy, visibility),) = drive(tracker, Reader(frames), [View(queries, None, (64, 64))], chunk=5)
    steps = np.arange(100)[None] - queries[:, 2:]
    np.testing.assert_allclose(xy, queries[:, None, :2] + steps[..., None] * oracle.velocity.numpy(), atol=1e-3)
    assert (np.delete(visibility, [40, 41], 1) > 0.5).all()
    whole_xy, whole_visibility = tracker.track(grey(100), torch.from_numpy(queries)[None])
    np.testing.assert_allclose(xy, whole_xy[0].numpy(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(visibility, whole_visibility[0].numpy(), rtol=0, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", KINDS)
def test_cuda_agrees_with_the_cpu(name: str, clip: Tensor) -> None:
    module = network(name, damped=True)
    build = KINDS[name]
    xy, visibility = build(module, "cpu", input_size=(64, 80)).track(clip, QUERIES)  # type: ignore[arg-type]
    there = build(module, "cuda", input_size=(64, 80))  # type: ignore[arg-type]
    try:
        there_xy, there_visibility = there.track(clip, QUERIES)
    finally:
        module.to("cpu")
    torch.testing.assert_close(there_xy.cpu(), xy, rtol=0, atol=0.05)
    torch.testing.assert_close(there_visibility.cpu(), visibility, rtol=0, atol=0.01)


def test_grey_clips_reach_the_oracle_as_numbers() -> None:
    features = Pips(OraclePips(), PipsOptions(input_size=(64, 64))).encode(grey(5, 7))
    assert features.data["maps"][0, :, 0, 0, 0].tolist() == [7, 8, 9, 10, 11]
