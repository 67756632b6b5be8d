"""Worlds: the same from the same seed, and truth that the pixels and slow references confirm."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.arrays import inside
from trackime.errors import InputError
from trackime.geometry import pixels as geometry
from trackime.types import Queries
from trackime.worlds import World, WorldOptions, make_world

CLEAN = {"noise": 0.0, "shading": 0.0}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    # Frames this small are slower with more threads, many times so where others use the processor.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clean() -> World:
    """Constant colours; every object bends."""
    return make_world(3, 160, 120, 12, 4, nonrigid=1.0, low_texture=0.0, **CLEAN)


@pytest.fixture(scope="module")
def crossing() -> World:
    """Large objects led over one another."""
    return make_world(5, 128, 96, 16, 5, occlusion=1.0, size=(0.3, 0.6), depth_swaps=1.0, speed=4.0)


# Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objects": -1}, "objects: expected a whole number of 0 or more, got -1"),
        ({"objects": 256}, "at most 255"),
        ({"width": 7}, "width: expected a whole number of 8 or more"),
        ({"height": 0}, "height"),
        ({"frames": 0}, "frames: expected a whole number of 1 or more, got 0"),
        ({"seed": -3}, "seed"),
        ({"frames": 2.5}, "frames"),
        ({"colour": 1}, "no option 'colour': expected one of speed, camera"),
        ({"occlusion": 1.5}, "occlusion: expected a number of 0 to 1"),
        ({"speed": math.nan}, "speed"),
        ({"size": (0.4, 0.2)}, "size"),
        ({"size": 0.3}, "size"),
        ({"zoom": 0.5}, "zoom: expected a number of 1 to 8"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_world(**{"width": 16, "height": 16, "frames": 2, **arguments})


def test_bad_requests() -> None:
    world = make_world(0, 32, 24, 3, 1)
    for call in (
        lambda: world.frame(3),
        lambda: world.mask(-1),
        lambda: world.render(2, 1),
        lambda: world.render(0, 4),
        lambda: world.flow(0, 3),
        lambda: world.sample(-1),
        lambda: world.sample(1, t=3),
        lambda: world.sample(1, ids=[2]),
        lambda: world.sample(1, ids=[]),
        lambda: world.sample(1, edge_share=2),
        lambda: world.track(Queries([[40, 5, 0]])),
        lambda: world.track(Queries([[4, 5, 3]])),
    ):
        with pytest.raises(InputError):
            call()


# Shapes and extremes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "frames", "objects"),
    [(8, 8, 1, 0), (16, 16, 1, 3), (17, 31, 3, 2), (61, 8, 2, 1), (40, 30, 2, 10), (32, 32, 4, 0)],
)
def test_any_size(width: int, height: int, frames: int, objects: int) -> None:
    world = make_world(1, width, height, frames, objects)
    assert world.video.shape == (frames, height, width, 3)
    assert world.video.dtype == np.uint8
    assert world.masks.shape == (frames, height, width)
    assert world.masks.dtype == np.uint8
    assert world.masks.max(initial=0) <= objects
    assert (world.info.width, world.info.height, world.info.frames, len(world)) == (width, height, frames, frames)
    tracks = world.sample(7)
    assert tracks.xy.shape == (7, frames, 2)
    assert set(np.unique(tracks.visibility)) <= {0.0, 1.0}
    assert len(world.sample(0)) == 0
    displacement, valid = world.flow(0, frames - 1)
    assert displacement.shape == (height, width, 2)
    assert displacement.dtype == np.float32
    assert valid.shape == (height, width)


def test_long_worlds_are_lazy() -> None:
    world = make_world(2, 64, 48, 3000, 3)
    late = world.render(2990, 2992)
    assert "video" not in vars(world)
    np.testing.assert_array_equal(late[1], world.frame(2991))
    tracks = world.sample(20)
    assert tracks.xy.shape == (20, 3000, 2)
    # Nothing drifts off for good.
    assert tracks.visibility[:, 1500:].any(1).mean() > 0.8


def test_blur_smears_motion_only() -> None:
    sharp = make_world(4, 64, 48, 5, 2, speed=40, noise=0)
    blurred = make_world(4, 64, 48, 5, 2, speed=40, noise=0, blur=0.9)
    np.testing.assert_array_equal(sharp.masks, blurred.masks)
    np.testing.assert_array_equal(sharp.sample(9).xy, blurred.sample(9).xy)
    detail = [np.abs(np.diff(w.frame(2).astype(float), axis=1)).mean() for w in (sharp, blurred)]
    assert detail[1] < 0.9 * detail[0]
    still = {"speed": 0, "camera": 0, "shake": 0, "turn": 0, "zoom": 1, "nonrigid": 0, "noise": 0}
    a, b = (make_world(4, 64, 48, 5, 2, blur=blur, **still).frame(2).astype(int) for blur in (0.0, 0.9))
    assert np.abs(a - b).max() <= 1


# The same from the same seed ----------------------------------------------------------------------------------


def test_seed_decides_everything() -> None:
    a, b, c = (make_world(seed, 48, 40, 4, 3) for seed in (9, 9, 10))
    np.testing.assert_array_equal(a.video[::-1], np.stack([b.frame(t) for t in (3, 2, 1, 0)]))
    np.testing.assert_array_equal(a.masks, b.masks)
    np.testing.assert_array_equal(a.sample(20, seed=1).xy, b.sample(20, seed=1).xy)
    assert (a.sample(20, seed=1).queries.xy != a.sample(20, seed=2).queries.xy).any()
    assert (a.video != c.video).mean() > 0.5


def test_rendering_leaves_global_randomness_alone() -> None:
    before = torch.get_rng_state()
    make_world(0, 16, 16, 1, 2).frame(0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.gpu
def test_devices_agree() -> None:
    here, there = (make_world(6, 96, 64, 3, 3, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(here.sample(30, t=1).xy, there.sample(30, t=1).xy)
    assert (np.abs(here.video.astype(int) - there.video) > 1).mean() < 1e-3
    assert (here.masks != there.masks).mean() < 1e-3


# Truth against slow references --------------------------------------------------------------------------------


def _forward(world: World, index: int, u: float, v: float, t: int) -> np.ndarray:
    """The map of a layer written out for one point, with Python's own mathematics."""
    layer = world.layers[index]
    warp = layer.warp
    for c in range(len(warp.angle)):
        dx, dy = math.cos(warp.angle[c]), math.sin(warp.angle[c])
        s = u * -dy + v * dx
        if warp.frequency[c] == 0:
            move = math.log1p(math.exp(12 * (s - warp.phase[c, t]))) / 12
        else:
            move = math.sin(warp.frequency[c] * s + warp.phase[c, t])
        u, v = u + dx * warp.amplitude[c, t] * move, v + dy * warp.amplitude[c, t] * move
    x, y, w = layer.matrices[t] @ [u, v, 1.0]
    return np.array([x / w, y / w])


def _search_inverse(world: World, index: int, xy: np.ndarray, t: int) -> np.ndarray:
    """Layer coordinates of a frame pixel by brute force: the best of a grid, refined by ever smaller grids."""
    u0, v0, u1, v1 = world.layers[index].extent
    best, step = np.array([(u0 + u1) / 2, (v0 + v1) / 2]), np.array([u1 - u0, v1 - v0]) / 8
    for _ in range(24):
        offsets = [best + step * [i, j] for i in range(-5, 6) for j in range(-5, 6)]
        best = min(offsets, key=lambda uv: np.hypot(*(_forward(world, index, *uv, t) - xy)))
        step = step * 0.45
    return best


def test_tracks_against_brute_force_inversion(clean: World) -> None:
    tracks = clean.sample(14, seed=2)
    for n in range(len(tracks)):
        t = int(tracks.queries.t[n])
        uv = _search_inverse(clean, int(tracks.instance[n]), tracks.queries.xy[n].astype(float), t)
        truth = [_forward(clean, int(tracks.instance[n]), *uv, k) for k in range(len(clean))]
        np.testing.assert_allclose(tracks.xy[n], truth, atol=0.02)


def test_inverse_undoes_forward(clean: World) -> None:
    uv = torch.rand(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for layer in clean.layers:
        pose = layer.pose(np.arange(500) % 12, torch.float64, "cpu")
        torch.testing.assert_close(pose.inverse(pose.forward(uv)), uv, atol=1e-9, rtol=0)


def _patch_error(world: World, shift: tuple[float, float]) -> float:
    """Median colour change along visible tracks (away from edges) when read `shift` pixels beside the truth."""
    tracks = world.sample(150, seed=4, t=5, edge_share=0.0)
    frames = geometry.to_torch(world.video)
    xy = torch.tensor(tracks.xy).transpose(0, 1)
    start = geometry.sample(frames, xy)[5]
    moved = geometry.sample(frames, xy + torch.tensor(shift))
    error = (moved - start).abs().mean(-1).T.numpy() * 255
    away = _clear_of_edges(world, tracks.xy) & tracks.visible
    away[:, 5] = False
    return float(np.median(error[away]))


def _clear_of_edges(world: World, xy: np.ndarray, margin: int = 2) -> np.ndarray:
    """bool [N, T]: whether all pixels within `margin` have one owner."""
    out = np.zeros(xy.shape[:2], bool)
    for n, t in np.ndindex(out.shape):
        x, y = (math.floor(v) for v in xy[n, t])
        inside = margin <= x < world.info.width - margin and margin <= y < world.info.height - margin
        near = world.masks[t, max(0, y - margin) : y + margin + 1, max(0, x - margin) : x + margin + 1]
        out[n, t] = inside and near.min() == near.max()
    return out


def test_colours_stay_along_true_tracks(clean: World) -> None:
    at_truth = _patch_error(clean, (0, 0))
    assert at_truth < 4.0
    for shift in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
        assert _patch_error(clean, shift) > 1.25 * at_truth
    assert _patch_error(clean, (2, 2)) > 3 * at_truth


def test_visible_exactly_where_the_mask_says(crossing: World) -> None:
    tracks = crossing.sample(400, seed=1)
    h, w = crossing.info.height, crossing.info.width
    within = inside(tracks.xy, (h, w))
    assert not tracks.visible[~within].any()
    clear = _clear_of_edges(crossing, tracks.xy, 1)
    x = np.clip(np.floor(tracks.xy[..., 0]).astype(int), 0, w - 1)
    y = np.clip(np.floor(tracks.xy[..., 1]).astype(int), 0, h - 1)
    seen = crossing.masks[np.arange(len(crossing)), y, x]
    same = seen == tracks.instance[:, None]
    np.testing.assert_array_equal(tracks.visible[clear], same[clear])
    # And there is something to be hidden by.
    assert 0.05 < (within & ~tracks.visible).mean() < 0.7


def test_mask_is_the_owner_of_pixel_centres(crossing: World) -> None:
    h, w = crossing.info.height, crossing.info.width
    y, x = np.mgrid[:h, :w] + 0.5
    for t in (0, 7, 15):
        owner, _ = crossing.owner(np.stack([x.ravel(), y.ravel()], 1), np.full(h * w, t))
        assert (owner.reshape(h, w) != crossing.masks[t]).mean() < 1e-3


def test_alpha_passes_one_half_at_the_edge() -> None:
    # A white object on black: the mask is the frame thresholded at one half, wherever the texture is near white.
    world = make_world(8, 96, 96, 2, 1, size=(0.6, 0.7), **CLEAN)
    ground, thing = world.layers
    for image, value in ((ground.texture, 0.0), (thing.texture, 1.0)):
        for level in image:
            level.fill_(value)
    frame = world.frame(1)[..., 0]
    assert ((frame > 127) != (world.mask(1) == 1)).mean() < 2e-3
    assert ((frame > 20) & (frame < 235)).sum() > 50


# Truth against itself -----------------------------------------------------------------------------------------


def test_flow_composes(crossing: World) -> None:
    direct, seen = crossing.flow(2, 9)
    y, x = np.mgrid[: crossing.info.height, : crossing.info.width] + 0.5
    step, valid = crossing.flow(2, 5)
    landed = np.stack([x, y], -1) + step
    rows = np.flatnonzero(valid & seen)[::37]
    points = np.concatenate([landed.reshape(-1, 2)[rows], np.full((len(rows), 1), 5)], 1)
    onward = crossing.track(Queries(points))
    # Rounding to float32 may carry a point on an edge to the other side: all but those.
    same = onward.instance == crossing.masks[2].ravel()[rows]
    assert same.mean() > 0.98
    expected = (np.stack([x, y], -1) + direct).reshape(-1, 2)[rows]
    np.testing.assert_allclose(onward.xy[same, 9], expected[same], atol=5e-3)
    assert onward.visible[same, 9].mean() > 0.99
    still, all_seen = crossing.flow(4, 4)
    np.testing.assert_allclose(still, 0, atol=1e-4)
    assert all_seen.all()


def test_any_frame_of_a_track_gives_the_same_track(crossing: World) -> None:
    tracks = crossing.sample(60, seed=6, edge_share=0.0)
    for t in (0, 6, 15):
        rows = np.flatnonzero(tracks.visible[:, t] & _clear_of_edges(crossing, tracks.xy, 1)[:, t])
        again = crossing.track(Queries(np.concatenate([tracks.xy[rows, t], np.full((len(rows), 1), t)], 1)))
        np.testing.assert_array_equal(again.instance, tracks.instance[rows])
        np.testing.assert_allclose(again.xy, tracks.xy[rows], atol=5e-3)
        assert (again.visible == tracks.visible[rows]).mean() > 0.995


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), t=st.integers(0, 3))
def test_queries_are_seen_where_they_are_asked_for(seed: int, t: int) -> None:
    world = make_world(seed, 40, 32, 4, 3)
    tracks = world.sample(12, seed=seed, t=t)
    np.testing.assert_array_equal(tracks.xy[:, t], tracks.queries.xy)
    assert tracks.visible[:, t].all()
    xy, visible = world.positions(*world.owner(tracks.queries.xy, tracks.queries.t))
    np.testing.assert_allclose(xy, tracks.xy, atol=1e-4)
    np.testing.assert_array_equal(visible, tracks.visible)


# What is sampled ----------------------------------------------------------------------------------------------


def test_sampling_follows_its_shares(crossing: World) -> None:
    on_objects = [(crossing.sample(300, object_share=share).instance > 0).mean() for share in (0.0, 0.7, 1.0)]
    assert on_objects[0] < 0.02 < 0.6 < on_objects[1] < 0.8 < 0.98 < on_objects[2]
    for k in (0, 1, 3):
        assert (crossing.sample(20, ids=[k]).instance == k).all()
    assert (crossing.sample(30, t=4).queries.t == 4).all()
    edges, middle = (
        _clear_of_edges(crossing, (tracks := crossing.sample(200, t=3, edge_share=share)).xy, 1)[:, 3].mean()
        for share in (1.0, 0.0)
    )
    assert edges < 0.3
    assert middle > 0.75
    assert len(tracks) == 200


def test_objects_nowhere_to_be_seen() -> None:
    world = make_world(1, 64, 48, 2, 2, speed=0, turn=0, zoom=1, size=(0.1, 0.1))
    for k in (1, 2):
        world.layers[k].matrices[:, :2, 2] = -500
    with pytest.raises(InputError, match="ids: expected objects seen in any frame"):
        world.sample(3, ids=[1, 2])
    assert (world.sample(5).instance == 0).all()


def test_speed_is_what_was_asked_for() -> None:
    still = {"turn": 0, "zoom": 1, "nonrigid": 0, "shake": 0, "jerky": 0}
    world = make_world(2, 64, 64, 12, 150, size=(0.1, 0.1), **still)
    middle = world.positions(np.arange(1, 151), np.zeros((150, 2)))[0]
    # Of a 256 x 256 frame; the mean step of each object.
    speed = np.linalg.norm(np.diff(middle, axis=1), axis=-1).mean(1) * 4
    assert 1.9 < np.median(speed) < 3.3
    assert 6.5 < np.percentile(speed, 90) < 14


def test_options_are_checked_on_their_own() -> None:
    assert WorldOptions.make(size=[0.2, 0.3]).size == (0.2, 0.3)
    with pytest.raises(InputError, match="noise"):
        WorldOptions(noise=-1)
