"""Plane sweep, aggregation, agreement, and depth of a whole video from known cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.apps.depth import dense_reference as slow
from trackime.errors import InputError
from trackime.geometry import Cameras
from trackime.progress import Report
from trackime.types import RaggedTracks
from trackime.video import open_video
from trackime.worlds import Scene, make_scene
from trackime_apps.depth.initial_depth import DepthMaps
from trackime_apps.depth.stereo import MovingMasks, SparsePoints, densify
from trackime_apps.depth.stereo._densify import DensifyConfig
from trackime_apps.depth.stereo._left_right import left_right_check
from trackime_apps.depth.stereo._neighbours import depth_bounds, select_views
from trackime_apps.depth.stereo._plane_sweep import mean_of_best, plane_sweep
from trackime_apps.depth.stereo._sgm import aggregate, winner_takes_all
from trackime_apps.depth.stereo._views import PosedMap


def turned(degrees: float, x: float = 0, y: float = 0, z: float = 0) -> np.ndarray:
    """A pose turned about y."""
    a = np.radians(degrees)
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    pose[:3, 3] = x, y, z
    return pose


def view(grey: np.ndarray, pose: np.ndarray, focal: float) -> PosedMap:
    h, w = grey.shape
    k = torch.tensor([[focal, 0, w / 2], [0, focal, h / 2], [0, 0, 1]], dtype=torch.float64)
    return PosedMap(torch.from_numpy(grey.astype(np.float32)), k, torch.from_numpy(pose))


# ---- sweep and aggregation


def test_the_sweep_is_what_its_definition_says() -> None:
    rng = np.random.default_rng(0)
    views = [
        view(rng.random((10, 13)), turned(0, 0, 0, 0), 14.0),
        view(rng.random((10, 13)), turned(4, 0.2, 0, 0), 14.0),
        view(rng.random((12, 11)), turned(-5, -0.3, 0.1, 0.1), 12.0),  # another size
        view(rng.random((10, 13)), turned(170, 0, 0, 0), 14.0),  # looks away
    ]
    inverse = np.array([0.1, 0.5, 1.1], np.float32)
    got = plane_sweep(views[0], views[1:], torch.from_numpy(inverse)).numpy()
    assert np.abs(got - slow.sweep(views[0], views[1:], inverse)).max() < 2e-3
    each = torch.from_numpy(inverse)[:, None, None].expand(3, 10, 13)
    assert np.abs(plane_sweep(views[0], views[1:], each).numpy() - got).max() < 1e-5


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_the_better_half(count: int) -> None:
    values = torch.rand(count, 3, 4)
    for keep in range(1, count + 1):
        expected = values.sort(0).values[:keep].mean(0)
        assert torch.allclose(mean_of_best(list(values), keep), expected)


@pytest.mark.parametrize("shape", [(3, 1, 4), (4, 6, 5), (5, 7, 2)])
def test_aggregation_is_what_every_path_says(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(1)
    cost, grey = rng.random(shape).astype(np.float32), (rng.random(shape[1:]) * 0.3).astype(np.float32)
    got = aggregate(torch.from_numpy(cost), torch.from_numpy(grey)).numpy()
    assert np.abs(got - slow.aggregate(cost, grey)).max() < 1e-5


def test_the_lowest_is_found_between_planes() -> None:
    planes = torch.arange(8.0)[:, None, None]
    for at in (2.0, 3.3, 4.5, 5.8):
        assert float(winner_takes_all((planes - at).square())[0, 0]) == pytest.approx(at, abs=1e-5)
    assert (
        float(winner_takes_all((planes + 1).square())[0, 0]) == 0
        and float(winner_takes_all((planes - 9).square())[0, 0]) == 7
    )
    assert torch.isfinite(winner_takes_all(torch.ones(8, 2, 2))).all()


# ---- agreement


def surface(depth: np.ndarray, pose: np.ndarray, focal: float) -> PosedMap:
    shown = view(depth, pose, focal)
    return PosedMap(1 / shown.values, shown.intrinsics, shown.pose)


def test_views_agree_where_both_see_a_surface() -> None:
    """A wall across the axis, seen from places side by side: its depth is the same everywhere."""
    wall = np.full((20, 30), 4.0)
    middle = surface(wall, turned(0), 30.0)
    right, left = surface(wall, turned(0, 0.4, 0, 0), 30.0), surface(wall, turned(0, -0.4, 0, 0), 30.0)
    votes = left_right_check(middle, [right, left])
    count, inverse = votes.consistent, votes.inverse
    # 0.4 at depth 4 is 3 px: the columns the right one sees, and the left one.
    column = np.arange(30) + 0.5
    expected = (column >= 3).astype(int) + (column <= 27).astype(int)
    assert (count.numpy() == expected).all() and torch.allclose(inverse, torch.full_like(inverse, 0.25))
    assert (votes.violations == 0).all() and (votes.seen == count).all()
    wrong = wall.copy()
    wrong[5:10, 10:15] = 3.6
    votes = left_right_check(surface(wrong, turned(0), 30.0), [right, left])
    count, against = votes.consistent, votes.violations
    assert (count.numpy()[5:10, 10:15] == 0).all() and (count.numpy()[12:] == expected).all()
    assert (against.numpy()[5:10, 10:15] == 2).all() and (against.numpy()[12:] == 0).all()
    near = left_right_check(surface(wall * 1.01, turned(0), 30.0), [right]).inverse
    assert near[5, 15] == pytest.approx((1 / 4 + 1 / 4.04) / 2, rel=1e-4)
    holes = PosedMap(torch.full_like(right.values, torch.nan), right.intrinsics, right.pose)
    none = left_right_check(middle, [holes])
    assert not (none.consistent | none.seen | none.violations).any()


def test_agreement_of_a_tilted_wall_is_told_pixel_by_pixel() -> None:
    focal, h, w = 30.0, 16, 24
    poses = [turned(0), turned(6, -0.5, 0, 0.2)]
    normal, offset = np.array([0.3, 0.1, 1.0]), 5.0  # points with n x = offset
    depths = []
    for pose in poses:
        y, x = np.mgrid[:h, :w] + 0.5
        rays = np.stack(((x - w / 2) / focal, (y - h / 2) / focal, np.ones_like(x)), -1) @ pose[:3, :3].T
        depths.append((offset - normal @ pose[:3, 3]) / (rays @ normal))
    one, other = (surface(d, p, focal) for d, p in zip(depths, poses, strict=True))
    votes = left_right_check(one, [other])
    count, inverse = votes.consistent, votes.inverse
    camera = [(s.intrinsics.numpy(), s.pose.numpy()) for s in (one, other)]
    for y in range(h):
        for x in range(w):
            at, _ = slow.carry(np.array([x + 0.5, y + 0.5]), 1 / depths[0][y, x], *camera)
            assert int(count[y, x]) == int(0 <= at[0] <= w and 0 <= at[1] <= h) or abs(at[0] * (w - at[0])) < 0.5 * w
    assert count.float().mean() > 0.5 and np.abs(inverse.numpy() * depths[0] - 1).max() < 5e-3


# ---- which frames, which depths


def ring(count: int = 9, step: float = 0.1) -> Cameras:
    poses = np.stack([turned(0, step * k, 0, 0) for k in range(count)])
    return Cameras(poses, np.full(count, 100.0), 100, 80)


def test_views_are_chosen_by_angle() -> None:
    cameras, rng = ring(25), np.random.default_rng(0)
    points = np.stack((rng.uniform(0, 2, 60), rng.uniform(-1, 1, 60), rng.uniform(3.5, 4.5, 60)), 1)
    chosen = select_views(cameras, points, 12, np.arange(25), 4)
    assert len(set(chosen)) == 4 and 12 not in chosen
    # 5 degrees at depth 4 are 0.35 units.
    assert all(2 <= abs(s - 12) <= 8 for s in chosen) and abs(chosen[0] - 12) in (3, 4)
    usable = np.ones(25, bool)
    usable[chosen[0]] = False
    assert chosen[0] not in select_views(cameras, points, 12, np.arange(25), 4, usable)
    assert select_views(ring(9, 0.0), points, 3, np.arange(9), 4) == []
    assert select_views(cameras, points[:0], 12, np.arange(25), 4) == []
    assert select_views(cameras, points, 12, np.array([12]), 4) == []
    assert select_views(cameras, -points, 12, np.arange(25), 4) == []


def test_bounds_hold_the_points() -> None:
    points = np.stack((np.zeros(50), np.zeros(50), np.linspace(2, 6, 50)), 1)
    low, high = depth_bounds(ring(), points, 0) or (0.0, 0.0)
    assert 1 < low < 2 and 6 < high < 12
    assert depth_bounds(ring(), -points, 0) is None and depth_bounds(ring(), points[:0], 0) is None


def scene_points(scene: Scene, n: int = 250) -> tuple[Cameras, np.ndarray, np.ndarray, RaggedTracks]:
    """True cameras, points and trails of what stands still."""
    tracks = scene.sample(n, ids=[0], t=len(scene) // 2)
    trails = RaggedTracks.of(tracks)
    middle = len(scene) // 2
    xy = tracks.xy[tracks.visible.any(1), middle]
    depth = scene.depths[middle][xy[:, 1].astype(int), xy[:, 0].astype(int)]
    size = (scene.info.width, scene.info.height)
    cameras = Cameras(scene.poses, np.full(len(scene), scene.focal), *size)
    return cameras, cameras.lift(xy, depth, middle), np.arange(len(trails)), trails


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(seed=0, width=128, height=96, frames=6, objects=4, movers=1, path="orbit", relief=0)


def test_sightings_are_those_of_the_trails(scene: Scene) -> None:
    cameras, points, point, trails = scene_points(scene)
    half = np.flatnonzero(np.arange(len(point)) % 2)  # half of the trails have no point
    sightings = SparsePoints(cameras, points[half], point[half], trails)
    for t in (0, 3, 5):
        which, xy, z = sightings.at(t)
        assert set(half[which]) <= set(trails.at(t)[0]) and len(which) > 20
        projected, depth = cameras.project(points[half][which], t)
        assert np.abs(projected - xy).max() < 4 and np.allclose(depth, z)
    few = SparsePoints(cameras, points[:5], point[:5], trails)
    assert 1 <= len(few.near(0)) <= 5


# ---- the whole


SMALL = DensifyConfig(side=128, planes=32, views=4, reach=6)


def test_depth_of_a_video(scene: Scene, tmp_path: Path) -> None:
    cameras, points, point, trails = scene_points(scene)
    maps = DepthMaps(tmp_path / "maps", len(scene))
    seen: list[tuple[str, int, int]] = []
    video = open_video(scene.video)
    sparse, masks = SparsePoints(cameras, points, point, trails), MovingMasks(scene.dynamic)
    densify(video, sparse, maps, masks=masks, config=SMALL, progress=Report(lambda *what: seen.append(what)))
    assert seen[0] == ("sweep", 1, 6) and seen[-1] == ("fill", 6, 6)
    assert sorted(p.name for p in maps.folder.iterdir()) == [f"{t:05d}.npz" for t in range(6)]
    depth, measured = (np.stack([f(t) for t in range(6)]) for f in (maps.depth, lambda t: maps.frame(t)[1]))
    still = np.stack([~scene.dynamic(t) for t in range(6)])
    moving = np.stack([maps.frame(t)[2] for t in range(6)])  # type: ignore[arg-type]
    assert (depth > 0).all() and not (measured & moving).any() and not (moving & still).any()
    error = np.abs(depth / scene.depths - 1)
    assert measured.mean() > 0.4 and error[measured].mean() < 0.02 and error[still].mean() < 0.06
    # Frames that are there are not made again, the others come out as before.
    before = (maps.folder / "00002.npz").read_bytes()
    (maps.folder / "00002.npz").unlink()
    stamp = (maps.folder / "00003.npz").stat().st_mtime_ns
    densify(video, sparse, maps, masks=masks, config=SMALL)
    assert (maps.folder / "00002.npz").read_bytes() == before
    assert (maps.folder / "00003.npz").stat().st_mtime_ns == stamp


def test_what_only_seems_to_move_stands_still(tmp_path: Path) -> None:
    """A piece of a wall and what does move are both said to move: the wall's depth is confirmed by other frames."""
    scene = make_scene(seed=1, width=128, height=96, frames=6, objects=4, movers=2, path="wander")
    cameras, points, point, trails = scene_points(scene)
    maps = DepthMaps(tmp_path / "maps", len(scene))
    wall = np.zeros((96, 128), bool)
    wall[60:90, 10:40] = True
    assert not any((scene.dynamic(t) & wall).any() for t in range(6))
    masks = MovingMasks(lambda t: scene.dynamic(t) | wall)
    densify(open_video(scene.video), SparsePoints(cameras, points, point, trails), maps, masks=masks, config=SMALL)
    for t in range(6):
        assert (maps.frame(t)[2] == scene.dynamic(t)).all() and maps.frame(t)[1][wall].mean() > 0.4


def test_what_moves_slowly_is_no_farther_than_what_it_hides_and_never_measured(tmp_path: Path) -> None:
    scene = make_scene(seed=1, width=128, height=96, frames=6, objects=4, movers=2, path="wander")
    cameras, points, point, trails = scene_points(scene)
    video, found = open_video(scene.video), {}
    for name, masks in (("without", None), ("with", scene.dynamic)):
        found[name] = DepthMaps(tmp_path / name, len(scene))
        densify(
            video,
            SparsePoints(cameras, points, point, trails),
            found[name],
            masks=MovingMasks(slow=masks),
            config=SMALL,
        )
    assert found["without"].frame(0)[2] is None
    for t in range(6):
        mask = found["with"].frame(t)[2]
        assert mask is not None and mask.any() and not (mask & ~scene.dynamic(t)).any()
        before, after = found["without"].depth(t), found["with"].depth(t)
        assert (after[~mask] == before[~mask]).all() and (after[mask] <= before[mask]).all()
        assert (found["with"].frame(t)[1] == found["without"].frame(t)[1] & ~mask).all()
    assert sum(found["without"].frame(t)[1][scene.dynamic(t)].sum() for t in range(6)) > 0


def test_without_parallax_the_points_are_spread(scene: Scene, tmp_path: Path) -> None:
    _, points, _, _ = scene_points(scene)
    still = Cameras(np.repeat(np.eye(4)[None], 3, 0), np.full(3, scene.focal), 128, 96)
    xy, z = still.project(points, 0)
    good = np.flatnonzero(((xy > 0) & (xy < (128, 96))).all(1) & (z > 0))
    held = RaggedTracks(
        3,
        np.arange(len(good) + 1) * 3,
        np.tile(np.arange(3), len(good)),
        np.repeat(xy[good], 3, 0),
        np.ones(3 * len(good)),
        np.zeros(len(good)),
    )
    maps = DepthMaps(tmp_path, 3)
    sparse = SparsePoints(still, points[good], np.arange(len(good)), held)
    densify(open_video(scene.video[:3]), sparse, maps, config=SMALL)
    depth = maps.depth(1)
    assert not maps.frame(1)[1].any() and z[good].min() * 0.99 <= depth.min() and depth.max() <= z[good].max() * 1.01


def test_bad_input_is_one_line(scene: Scene, tmp_path: Path) -> None:
    cameras, points, point, trails = scene_points(scene)
    video = open_video(scene.video)
    with pytest.raises(InputError, match="expected maps of the video's 6 frames, got 5"):
        densify(video, SparsePoints(cameras, points, point, trails), DepthMaps(tmp_path, 5))
    other = Cameras(cameras.poses, cameras.focal, 320, 240)
    with pytest.raises(InputError, match="expected cameras of 128x96 pixels as the video's, got 320x240"):
        densify(video, SparsePoints(other, points, point, trails), DepthMaps(tmp_path, 6))
    with pytest.raises(InputError, match="planes: expected at least 8, got 2"):
        DensifyConfig(planes=2)
