"""The temporal filter of depth: against a reading of it pixel by pixel, and on scenes whose depth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from trackime.errors import InputError, ShapeError
from trackime.geometry import Cameras
from trackime.imaging import DenseFlow
from trackime.worlds import make_scene
from trackime_apps.depth import _filter as filtering
from trackime_apps.depth._filter import DECAY, LIMIT, Filtered, TemporalFilter, smooth

W, H, FRAMES = 80, 60, 7


class Shot:
    """A scene with its cameras, and its depth spoiled anew in every frame."""

    def __init__(self, seed: int = 0, frames: int = FRAMES, width: int = W, height: int = H) -> None:
        scene = make_scene(seed=seed, width=width, height=height, frames=frames, objects=4, movers=1, path="orbit")
        self.scene, self.frames = scene, scene.video
        self.depth, self.moving = scene.depths, np.stack([scene.dynamic(t) for t in range(frames)])
        self.cameras = Cameras(scene.poses, np.full(frames, scene.focal), width, height)
        rng = np.random.default_rng(seed)
        factor = np.exp(rng.normal(0, 0.03, (frames, 1, 1)) + rng.normal(0, 0.02, self.depth.shape))
        self.spoiled = (self.depth * factor).astype(np.float32)

    def items(self, depth: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        return list(zip(self.frames, self.spoiled if depth is None else depth, self.moving, strict=True))


@pytest.fixture(scope="module")
def shot() -> Shot:
    return Shot()


def bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """A value between pixels whose centres are whole numbers, edges repeated; OpenCV rounds places to 1/32 pixel."""
    x, y = round(x * 32) / 32, round(y * 32) / 32
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    total = 0.0
    for dx in (0, 1):
        for dy in (0, 1):
            part = (1 - abs(x - x0 - dx)) * (1 - abs(y - y0 - dy))
            total = total + part * image[np.clip(y0 + dy, 0, len(image) - 1), np.clip(x0 + dx, 0, image.shape[1] - 1)]
    return total  # type: ignore[return-value]


def inside(x: float, y: float) -> bool:
    return bool(-0.5 <= x <= W - 0.5 and -0.5 <= y <= H - 0.5)


def nearest(x: float, y: float) -> tuple[int, int]:
    return round(np.clip(y, 0, H - 1)), round(np.clip(x, 0, W - 1))


def slow(shot: Shot, depth: np.ndarray, t: int, pixel: tuple[int, int], radius: int) -> float:
    """The filtered depth of one pixel (x, y), a frame at a time."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in shot.frames]
    z = float(depth[t][pixel[1], pixel[0]])
    if z == 0 or shot.moving[t][pixel[1], pixel[0]]:
        return z
    total, weights = np.exp(-DECAY) * z, np.exp(-DECAY)
    point = shot.cameras.lift([(pixel[0] + 0.5, pixel[1] + 0.5)], [z], t)
    for step in (-1, 1):
        x, y = map(float, pixel)
        by_flow = True
        for s in range(t + step, t + step * (radius + 1), step):
            if not 0 <= s < len(depth):
                break
            way, back = DenseFlow()(grey[s - step], grey[s]), DenseFlow()(grey[s], grey[s - step])
            seen = np.zeros((H, W))
            near = np.s_[max(0, int(y) - 2) : int(y) + 3, max(0, int(x) - 2) : int(x) + 3]
            for j, i in np.argwhere(np.ones((H, W))).reshape(H, W, 2)[near].reshape(-1, 2):
                dx, dy = way[j, i]
                seen[j, i] = np.hypot(*(way[j, i] + bilinear(back, i + dx, j + dy))) < 1 + 0.05 * np.hypot(dx, dy)
            by_flow = by_flow and bilinear(seen, x, y) > 0.9
            dx, dy = bilinear(way, x, y)
            x, y = x + dx, y + dy
            by_flow = by_flow and inside(x, y)
            a, b = (x, y) if by_flow else shot.cameras.project(point, s)[0][0] - 0.5
            if not inside(a, b) or shot.moving[s][nearest(a, b)]:
                break
            there, between = float(depth[s][nearest(a, b)]), float(bilinear(depth[s], a, b))
            there = between if abs(between - there) < 0.1 * there else there
            moved = 0.0
            if there > 0:
                world = shot.cameras.lift([(a + 0.5, b + 0.5)], [there], s)
                moved = float(shot.cameras.project(world, t)[1][0])
            ratio = max(moved / z, z / moved) if moved > 0 else np.inf
            if ratio <= LIMIT:
                total += np.exp(-DECAY * ratio) * moved
                weights += np.exp(-DECAY * ratio)
            elif not by_flow:
                break
    return float(total / weights)


def test_every_pixel_is_the_weighted_mean_along_its_track(shot: Shot) -> None:
    depth = shot.spoiled.copy()
    depth[2, :9, :12] = 0  # unknown
    done = list(smooth(shot.items(depth), shot.cameras, radius=2))
    rng = np.random.default_rng(1)
    for t in (0, 3):
        picked = [(int(rng.integers(W)), int(rng.integers(H))) for _ in range(4)]
        borders = [(0, 0), (W - 1, H - 1), (3, 3)]
        for x, y in picked + borders:
            assert done[t].depth[y, x] == pytest.approx(slow(shot, depth, t, (x, y), 2), rel=2e-3)


def test_bad_input_is_one_line(shot: Shot) -> None:
    with pytest.raises(InputError, match="radius of 0 or more"):
        TemporalFilter(shot.cameras, radius=-1)
    with pytest.raises(InputError, match="limit above 1"):
        TemporalFilter(shot.cameras, limit=1.0)
    with pytest.raises(ShapeError, match="shots"):
        TemporalFilter(shot.cameras, shots=[0, 1])
    window = TemporalFilter(shot.cameras)
    with pytest.raises(ShapeError, match="frame"):
        window.push(shot.frames[0][:-1], shot.spoiled[0])
    with pytest.raises(ShapeError, match="depth"):
        window.push(shot.frames[0], shot.spoiled[0][:-1])
    with pytest.raises(ShapeError, match="moving"):
        window.push(shot.frames[0], shot.spoiled[0], shot.moving[0][1:])
    with pytest.raises(InputError, match=f"expected {FRAMES} frames"):
        list(smooth(shot.items() * 2, shot.cameras))
    assert list(smooth([], shot.cameras)) == []


def test_radius_zero_changes_nothing(shot: Shot) -> None:
    for t, done in enumerate(smooth(shot.items(), shot.cameras, radius=0)):
        assert done.t == t and (done.depth == shot.spoiled[t]).all() and (done.agreement == 1).all()
        assert (done.frame == shot.frames[t]).all()


def test_errors_of_single_frames_go_and_edges_stay(shot: Shot) -> None:
    done = np.stack([item.depth for item in smooth(shot.items(), shot.cameras)])
    still = ~shot.moving
    before, after = (np.abs(np.log(d / shot.depth)) for d in (shot.spoiled, done))
    assert after[still].mean() < 0.5 * before[still].mean()
    edge = np.stack([np.ptp([np.roll(d, k, 1) for k in (-1, 0, 1)], 0) > 0.3 for d in shot.depth]) & still
    assert edge.any() and after[edge].mean() < 0.75 * before[edge].mean()
    # Flicker: how much the error changes along what is seen, from one frame to the next.
    tracks = shot.scene.sample(200, t=3)
    x, y = np.clip(np.floor(tracks.xy), 0, (W - 1, H - 1)).astype(int).transpose(2, 0, 1)
    frame = np.arange(FRAMES)
    good = tracks.visible & still[frame, y, x]

    def flicker(depth: np.ndarray) -> float:
        change = np.diff(np.log(depth / shot.depth)[frame, y, x], axis=1)
        return float(np.abs(change)[good[:, 1:] & good[:, :-1]].mean())

    assert flicker(done) < 0.35 * flicker(shot.spoiled)


def test_perfect_depth_stays(shot: Shot) -> None:
    true = shot.depth.astype(np.float32)
    done = list(smooth(shot.items(true), shot.cameras))
    error = np.abs(np.stack([item.depth for item in done]) / true - 1)
    assert np.median(error) < 3e-3 and np.percentile(error, 95) < 0.03
    inner = np.stack([item.agreement for item in done])[:, 20:-20, 20:-20][~shot.moving[:, 20:-20, 20:-20]]
    assert np.median(inner) > 0.9


def test_movers_are_left_alone_and_never_used(shot: Shot) -> None:
    wild = np.where(shot.moving, np.float32(1e-3), shot.spoiled)
    done = list(smooth(shot.items(wild), shot.cameras, limit=1e9))
    for t, item in enumerate(done):
        assert (item.depth[shot.moving[t]] == np.float32(1e-3)).all()
        assert item.depth[~shot.moving[t]].min() > 1


@pytest.mark.parametrize("bad", [0, np.nan, np.inf, -1.0])
def test_unknown_depth_stays_unknown_and_touches_nothing_else(shot: Shot, bad: float) -> None:
    holes = np.random.default_rng(0).random(shot.depth.shape) < 0.1
    for item in smooth(shot.items(np.where(holes, bad, shot.spoiled)), shot.cameras):
        assert (item.depth[holes[item.t]] == 0).all() and (item.agreement[holes[item.t]] == 0).all()
        rest = ~holes[item.t]
        assert np.isfinite(item.depth).all() and item.depth[rest].min() > 0
        assert (np.abs(item.depth / shot.depth[item.t] - 1)[rest] < 0.4).all()
        assert item.agreement[rest].min() > 0 and item.agreement.max() <= 1


def test_a_cut_ends_every_track(shot: Shot) -> None:
    shots = [0, 0, 0, 1, 1, 1, 1]
    done = list(smooth(shot.items(), shot.cameras, shots=shots))
    first = Cameras(shot.cameras.poses[:3], shot.cameras.focal[:3], W, H)
    second = Cameras(shot.cameras.poses[3:], shot.cameras.focal[3:], W, H)
    alone = [*smooth(shot.items()[:3], first), *smooth(shot.items()[3:], second)]
    for one, other in zip(done, alone, strict=True):
        assert (one.depth == other.depth).all() and (one.agreement == other.agreement).all()


def test_memory_holds_the_window_alone(shot: Shot) -> None:
    window, out = TemporalFilter(shot.cameras, radius=1), []
    for t, item in enumerate(shot.items()):
        got = window.push(*item)
        assert len(window._held) <= 3 and (got is None) == (t < 1)
        out += [] if got is None else [got]
    assert [item.t for item in [*out, *window.finish()]] == list(range(FRAMES))
    assert len(window._held) <= 3


def test_flow_of_shrunken_frames_serves_large_ones(shot: Shot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtering, "SIDE", 61)
    done = np.stack([item.depth for item in smooth(shot.items(), shot.cameras)])
    still = ~shot.moving
    before, after = (np.abs(np.log(d / shot.depth))[still].mean() for d in (shot.spoiled, done))
    assert after < 0.6 * before


@pytest.mark.parametrize(("width", "height", "frames"), [(1, 1, 2), (7, 5, 3), (33, 17, 1), (40, 9, 4)])
def test_any_size_and_one_frame(width: int, height: int, frames: int) -> None:
    rng = np.random.default_rng(0)
    cameras = Cameras(np.tile(np.eye(4), (frames, 1, 1)), np.full(frames, 30.0), width, height)
    video = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    depth = rng.uniform(1, 2, (frames, height, width)).astype(np.float32)
    done: list[Filtered] = list(smooth([(f, d, None) for f, d in zip(video, depth, strict=True)], cameras))
    assert [item.depth.shape for item in done] == [(height, width)] * frames
    if min(width, height) < 16 or frames == 1:  # too small for flow: nothing is known of tracks
        assert all(np.allclose(item.depth, depth[item.t]) for item in done)
