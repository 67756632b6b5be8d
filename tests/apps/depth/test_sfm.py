"""Cameras and sparse points of whole videos from parallax alone: what comes out, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.apps.depth.cloud import tracks_of, views_of
from trackime.errors import InputError, ShapeError, SolveError
from trackime.geometry import Cameras
from trackime.metrics import absolute_error
from trackime.types import RaggedTracks
from trackime.worlds import Scene, make_scene
from trackime_apps.depth import sfm
from trackime_apps.depth._reconstruction import Reconstruction

W, H = 160, 120


@cache
def scene(path: str, seed: int = 0, movers: int = 2) -> Scene:
    return make_scene(seed, width=W, height=H, frames=16, objects=4, path=path, movers=movers)


def true_tracks(world: Scene, noise: float = 0.0, outliers: float = 0.0, n: int = 100, every: int = 6) -> RaggedTracks:
    """True points sampled every few frames; noise in pixels, and a share of the observations anywhere near."""
    rng = np.random.default_rng(0)
    tracks = RaggedTracks.join([RaggedTracks.of(world.sample(n, seed=t, t=t)) for t in range(0, len(world), every)])
    xy = tracks.xy + rng.normal(0, noise, tracks.xy.shape)
    bad = rng.random(len(xy)) < outliers
    xy[bad] += rng.uniform(-20, 20, (int(bad.sum()), 2))
    return replace(tracks, xy=xy)


def off_path(found: np.ndarray, true: np.ndarray) -> float:
    """Root of the mean squared distance of camera centres after the best similarity, over the path."""
    return absolute_error(found, true).share


@pytest.mark.parametrize(
    ("path", "seed", "movers", "noise", "outliers", "given", "most"),
    [
        ("orbit", 1, 2, 0.0, 0.0, False, 0.002),
        ("wander", 0, 2, 0.25, 0.0, False, 0.01),
        ("orbit", 1, 2, 0.25, 0.2, True, 0.01),
        ("dolly", 2, 0, 0.0, 0.0, True, 0.002),
    ],
)
def test_cameras_of_a_scene(
    path: str, seed: int, movers: int, noise: float, outliers: float, given: bool, most: float
) -> None:
    world = scene(path, seed, movers)
    true = world.intrinsics[0, 0]
    tracks = true_tracks(world, noise, outliers)
    said: list[str] = []
    found = sfm.reconstruct(
        tracks, W, H, focal=true if given else None, progress=lambda stage, done, total: said.append(stage)
    )
    assert off_path(found.cameras.poses, world.poses) < most
    assert found.cameras.focal == pytest.approx(true, rel=1e-12 if given else 0.01 if noise == 0 else 0.05)
    assert found.known.all() and (found.part == 0).all() and "keyframes" in said
    np.testing.assert_allclose(found.cameras.poses[0], np.eye(4), atol=1e-9)
    # Points lie where their tracks say, at a median depth of 1, and few of them are on movers.
    off, depth = [], []
    for t in range(len(world)):
        points, rows = tracks.at(t)
        mine = np.isin(points, found.point)
        xy, z = found.cameras.project(found.points[np.searchsorted(found.point, points[mine])], t)
        off.append(np.linalg.norm(xy - tracks.xy[rows[mine]], axis=1))
        depth.append(z)
    assert np.median(np.concatenate(off)) < 0.02 + 1.3 * noise
    assert np.median(np.concatenate(depth)) == pytest.approx(1, rel=0.05)
    assert (tracks.instance[found.point] > 0).mean() < 0.05


def test_points_said_to_move_are_left_out_and_the_same_comes_twice() -> None:
    world = scene("orbit", 1)
    tracks = true_tracks(world, 0.25)
    static = tracks.instance == 0
    one = sfm.reconstruct(tracks, W, H, focal=140.0, static=static)
    two = sfm.reconstruct(tracks, W, H, focal=140.0, static=static)
    assert static[one.point].all()
    assert (one.cameras.poses == two.cameras.poses).all() and (one.points == two.points).all()


@pytest.mark.parametrize("path", ["static", "rotation"])
@pytest.mark.parametrize(
    ("noise", "movers", "given"), [(0.0, 0, False), (0.0, 2, True), (0.3, 2, True), (0.3, 2, False)]
)
def test_a_camera_that_does_not_translate_is_refused(path: str, noise: float, movers: int, given: bool) -> None:
    world = scene(path, 0, movers)
    with pytest.raises(SolveError, match="--depth-model") as caught:
        sfm.reconstruct(true_tracks(world, noise), W, H, focal=world.intrinsics[0, 0] if given else None)
    assert "\n" not in str(caught.value)


def test_three_frames() -> None:
    world = make_scene(3, width=W, height=H, frames=3, movers=0, path="orbit", speed=0.3)
    tracks = true_tracks(world, n=400)
    found = sfm.reconstruct(tracks, W, H, focal=world.intrinsics[0, 0])
    assert off_path(found.cameras.poses, world.poses) < 0.002
    with pytest.raises(SolveError, match="at least 3 frames, got 2"):
        sfm.reconstruct(RaggedTracks(2, [0, 2], [0, 1], np.ones((2, 2)), np.ones(2), [0]), W, H)


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_no_points(frames: int) -> None:
    with pytest.raises(SolveError, match="--depth-model"):
        sfm.reconstruct(RaggedTracks.none(frames), W, H)


def test_frames_that_see_nothing_are_between_their_neighbours() -> None:
    world = scene("orbit", 1)
    tracks = true_tracks(world)
    tracks = tracks.seen(~np.isin(tracks.frame, (7, 15)))
    found = sfm.reconstruct(tracks, W, H, focal=world.intrinsics[0, 0])
    assert found.known.tolist() == [t not in (7, 15) for t in range(16)]
    centre = found.cameras.poses[:, :3, 3]
    np.testing.assert_allclose(centre[7], (centre[6] + centre[8]) / 2, atol=1e-9)
    np.testing.assert_allclose(found.cameras.poses[15], found.cameras.poses[14], atol=1e-9)


def test_each_side_of_a_cut_has_a_world_of_its_own() -> None:
    world = make_scene(4, width=W, height=H, frames=24, objects=3, movers=0, path="orbit", cut=True)
    parts = [RaggedTracks.of(world.sample(150, seed=t, t=t)) for t in (0, 6, 12, 18)]
    tracks = RaggedTracks.join(parts)
    found = sfm.reconstruct(tracks, W, H, focal=world.intrinsics[0, 0])
    assert found.part.tolist() == [0] * 12 + [1] * 12
    for k, piece in enumerate((slice(0, 12), slice(12, 24))):
        np.testing.assert_allclose(found.cameras.poses[piece][0], np.eye(4), atol=1e-9)
        assert off_path(found.cameras.poses[piece], world.poses[piece]) < 0.005, k
    # One side that cannot be solved is named.
    few = tracks.seen((tracks.frame < 12) | (tracks.frame % 12 < 2))
    with pytest.raises(SolveError, match=r"frames 12 to 23 \(between cuts\).*--depth-model"):
        sfm.reconstruct(few, W, H)


def test_a_flat_scene_needs_the_focal_length() -> None:
    views = views_of(cameras=12, points=200)
    plane = replace(views, points=views.points * [1, 1, 0] + np.array([0, 0, 4]) + views.points[:, :1] * [0, 0, 0.4])
    tracks = tracks_of(plane, 300, 200, 0.1)
    with pytest.raises(SolveError, match="flat"):
        sfm.reconstruct(tracks, 300, 200)
    found = sfm.reconstruct(tracks, 300, 200, focal=150.0)
    poses = np.tile(np.eye(4), (12, 1, 1))
    poses[:, :3, :3] = plane.rotation.transpose(0, 2, 1)
    poses[:, :3, 3] = -np.einsum("mji,mj->mi", plane.rotation, plane.shift)
    assert off_path(found.cameras.poses, poses) < 0.01


def test_noise_is_no_scene() -> None:
    rng = np.random.default_rng(0)
    n, frames = 200, 8
    first, frame = np.arange(n + 1) * frames, np.tile(np.arange(frames), n)
    xy = rng.uniform(0, 100, (n * frames, 2))
    tracks = RaggedTracks(frames, first, frame, xy, np.ones(n * frames), np.zeros(n))
    with pytest.raises(SolveError, match="--depth-model"):
        sfm.reconstruct(tracks, 100, 100, focal=100.0)


def test_bad_input_is_said() -> None:
    tracks = true_tracks(scene("orbit", 1))
    for kwargs in ({"focal": 0.0}, {"focal": np.nan}, {"focal": -3.0}):
        with pytest.raises(InputError, match="focal"):
            sfm.reconstruct(tracks, W, H, **kwargs)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1x1"):
        sfm.reconstruct(tracks, 0, H)
    with pytest.raises(ShapeError, match="static"):
        sfm.reconstruct(tracks, W, H, static=np.ones(3, bool))


def whole(**changes: Any) -> dict[str, Any]:
    cameras = Cameras(np.tile(np.eye(4), (3, 1, 1)), np.ones(3), 10, 10)
    good: dict[str, Any] = {
        "cameras": cameras, "known": [True] * 3, "points": np.ones((2, 3)), "point": [0, 4], "keyframes": [0, 2],
        "error": 0.1, "part": [0, 0, 1],
    }  # fmt: skip
    return {**good, **changes}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"known": [True]}, "known"),
        ({"points": np.ones((1, 3))}, "points"),
        ({"points": np.full((2, 3), np.nan)}, "points"),
        ({"point": [4, 0]}, "point"),
        ({"keyframes": [0, 3]}, "keyframes"),
        ({"part": [0, 2, 2]}, "part"),
        ({"part": [0, 0]}, "part"),
    ],
)
def test_a_reconstruction_is_checked(changes: dict[str, Any], word: str) -> None:
    Reconstruction(**whole())
    with pytest.raises(InputError, match=word):
        Reconstruction(**whole(**changes))
