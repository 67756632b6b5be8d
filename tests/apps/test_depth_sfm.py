"""Cameras and sparse points from parallax alone: each step against a slow reference, then whole scenes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from trackime.errors import InputError, ShapeError, SolveError
from trackime.worlds import Scene, make_scene
from trackime_apps.depth import sfm
from trackime_apps.depth.cameras import Cameras
from trackime_apps.depth.reconstruction import Reconstruction
from trackime_apps.depth.rotations import exp_rotation
from trackime_apps.depth.sfm import bundle
from trackime_apps.depth.sfm.bundle import Observed, Prior, Views, adjust, cost, errors, linearise
from trackime_apps.depth.sfm.focal import candidates, likely, sweep
from trackime_apps.depth.sfm.keyframes import keyframes
from trackime_apps.depth.sfm.relative import relative, sampson
from trackime_apps.depth.sfm.resection import refine_poses, resect
from trackime_apps.depth.sfm.rotation import explained, parallax
from trackime_apps.depth.sfm.sightings import Sightings
from trackime_apps.depth.sfm.triangulate import angles, meet, thinned, triangulate
from trackime_apps.depth.trails import Trails

W, H = 160, 120


# ---- a small world of points: everything known


def views_of(seed: int = 0, cameras: int = 5, points: int = 40, focal: float = 150.0) -> Views:
    """Cameras along a line that look at a cloud of points some 4 away."""
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(rng.normal(0, 0.05, (cameras, 3))).as_matrix()
    centre = np.stack((np.linspace(-0.8, 0.8, cameras), *rng.normal(0, 0.1, (2, cameras))), 1)
    cloud = rng.uniform((-1.5, -1, 3), (1.5, 1, 6), (points, 3))
    return Views(turn, -np.einsum("mij,mj->mi", turn, centre), cloud, focal)


def seen_by(views: Views, noise: float = 0.0, share: float = 1.0, seed: int = 0) -> Observed:
    """What the cameras see of the points, in order of point, then camera; a share of it."""
    rng = np.random.default_rng(seed)
    point, camera = np.nonzero(rng.random((len(views.points), len(views.rotation))) <= share)
    empty = Observed(camera, point, np.zeros((len(point), 2)), rng.uniform(0.5, 2, len(point)))
    return replace(empty, xy=bundle.project(views, empty)[0] + rng.normal(0, noise, (len(point), 2)))


def shaken(views: Views, size: float, seed: int = 0) -> Views:
    rng = np.random.default_rng(seed)
    m, p = len(views.rotation), len(views.points)
    cameras = rng.normal(0, size, (m, 6))
    cameras[0] = 0
    return bundle.moved(views, cameras, rng.normal(0, size, (p, 3)), rng.normal(0, size))


def trails_of(views: Views, width: int, height: int, noise: float = 0.0, seed: int = 0) -> Trails:
    """Every point in every frame that it is inside of."""
    full = seen_by(views, noise, 1.0, seed)
    xy = full.xy + np.array([width / 2, height / 2])
    inside = np.isfinite(xy).all(1) & (xy >= 0).all(1) & (xy <= (width, height)).all(1)
    point, frame, xy = full.point[inside], full.camera[inside], xy[inside]
    length = np.bincount(point)
    length = length[length > 0]
    first = np.concatenate(([0], np.cumsum(length)))
    return Trails(len(views.rotation), first, frame, xy, np.ones(len(xy)), np.zeros(len(length)))


# ---- bundle adjustment


def test_jacobians_are_those_of_autograd() -> None:
    views = views_of()
    seen = seen_by(views, 3.0, 0.6)
    by_camera, by_point, by_focal, off = bundle.jacobians(views, seen)

    def pixels(camera: torch.Tensor, point: torch.Tensor, log_focal: torch.Tensor, k: int) -> torch.Tensor:
        turn = torch.from_numpy(views.rotation[seen.camera[k]])
        shift = torch.from_numpy(views.shift[seen.camera[k]])
        x = exp_rotation(camera[:3]) @ (turn @ point + shift) + camera[3:]
        return views.focal * torch.exp(log_focal) * x[:2] / x[2]

    for k in range(0, len(seen.point), 7):
        at = (torch.zeros(6).double(), torch.from_numpy(views.points[seen.point[k]]), torch.zeros(1).double())
        want = torch.autograd.functional.jacobian(lambda *a, k=k: pixels(*a, k), at)  # type: ignore[misc]
        for got, right in zip((by_camera[k], by_point[k], by_focal[k][:, None]), want, strict=True):
            np.testing.assert_allclose(got, right.numpy(), atol=1e-9)
        np.testing.assert_allclose(off[k], pixels(*at, k).numpy() - seen.xy[k], atol=1e-9)


def flat_step(cameras: np.ndarray, points: np.ndarray, log_focal: float) -> np.ndarray:
    return np.concatenate((cameras.reshape(-1), points.reshape(-1), [log_focal]))


def test_the_gradient_is_that_of_the_robust_cost() -> None:
    views = shaken(views_of(cameras=3, points=8), 0.01)
    seen, prior = seen_by(views_of(cameras=3, points=8), 0.5, 0.8), Prior(170.0, 0.2, 5.0)
    system = linearise(views, seen, prior)
    got = flat_step(system.slope_c, system.slope_p, system.slope_f)

    def value(step: np.ndarray) -> float:
        return cost(bundle.moved(views, step[:18].reshape(3, 6), step[18:-1].reshape(8, 3), step[-1]), seen, prior)

    far = np.linalg.norm(bundle.project(views, seen)[0] - seen.xy, axis=1) * seen.weight
    assert (far > 1).any() and (far < 1).any()  # both branches of the loss
    small = 1e-6 * np.eye(len(got))
    want = [(value(d) - value(-d)) / 2e-6 for d in small]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("focal", [True, False])
@pytest.mark.parametrize("fixed", [(0,), (0, 3)])
def test_the_schur_step_is_that_of_a_dense_solve(focal: bool, fixed: tuple[int, ...]) -> None:
    views = shaken(views_of(points=230), 0.02)  # more points than are eliminated at once
    seen, prior = seen_by(views_of(points=230), 0.5, 0.7), Prior(170.0, 0.2, 5.0)
    free = np.ones(5, bool)
    free[list(fixed)] = False
    damping = 1e-2
    got = flat_step(*bundle.step(linearise(views, seen, prior), seen, free, focal, damping))

    by_camera, by_point, by_focal, off = bundle.jacobians(views, seen)
    dense = np.zeros((len(off), 2, 30 + 3 * 230 + 1))
    for k, (c, p) in enumerate(zip(seen.camera, seen.point, strict=True)):
        dense[k, :, 6 * c : 6 * c + 6] = by_camera[k]
        dense[k, :, 30 + 3 * p : 33 + 3 * p] = by_point[k]
        dense[k, :, -1] = by_focal[k]
    e = np.linalg.norm(off, axis=1) * seen.weight
    weight = np.repeat(seen.weight**2 / np.maximum(e, 1), 2)
    jacobian, residual = dense.reshape(2 * len(off), -1), off.reshape(-1)
    matrix = jacobian.T @ (jacobian * weight[:, None])
    slope = jacobian.T @ (residual * weight)
    stiff = prior.count / prior.sigma**2
    matrix[-1, -1] += stiff
    slope[-1] += stiff * np.log(views.focal / prior.focal)
    matrix += damping * np.diag(np.diag(matrix))
    keep = np.concatenate((np.repeat(free, 6), np.ones(690, bool), [focal]))
    want = np.zeros(len(keep))
    want[keep] = np.linalg.solve(matrix[np.ix_(keep, keep)], -slope[keep])
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)


def test_adjustment_comes_back_and_its_cost_falls() -> None:
    true = views_of(points=60)
    seen = seen_by(true)
    start = shaken(true, 0.01)
    found, value = adjust(start, seen, free=np.arange(5) > 0, focal=True, iterations=60, tolerance=1e-12)
    assert value < 1e-6 * cost(start, seen)
    assert errors(found, seen).max() < 1e-2
    assert (found.rotation[0] == start.rotation[0]).all() or np.allclose(found.rotation[0], start.rotation[0])


def test_a_point_behind_the_camera_costs_and_pulls_nothing() -> None:
    views = views_of(cameras=2, points=2)
    seen = seen_by(views)
    behind = replace(views, points=views.points * [1, 1, -1])
    assert np.isinf(errors(behind, seen)).all()
    assert cost(behind, seen) == pytest.approx(float((bundle.BEHIND * seen.weight - 0.5).sum()))
    assert not linearise(behind, seen).slope_p.any()


# ---- triangulation


def test_rays_meet_where_least_squares_says() -> None:
    rng = np.random.default_rng(0)
    centres, towards = rng.normal(size=(2, 9, 3)), rng.normal(size=(2, 9, 3))
    towards /= np.linalg.norm(towards, axis=2, keepdims=True)
    got = meet(centres[0], towards[0], centres[1], towards[1])
    for n in range(9):
        across = [np.eye(3) - np.outer(d, d) for d in towards[:, n]]
        right = sum(a @ c for a, c in zip(across, centres[:, n], strict=True))
        np.testing.assert_allclose(got[n], np.linalg.solve(sum(across), right), rtol=1e-9)
    assert np.isnan(meet(centres[0], towards[0], centres[1], towards[0])).all()


def test_triangulation_is_least_squares_and_leaves_outliers_out() -> None:
    views = views_of(cameras=9, points=30)
    seen = seen_by(views, 0.3)
    bad = np.zeros((30, 9), bool)
    for n in range(30):
        bad[n, np.random.default_rng(n).choice(9, 3, replace=False)] = True
    bad = bad.reshape(-1)
    spoiled = replace(seen, xy=seen.xy + np.where(bad[:, None], [25.0, -20.0], 0.0))
    found = triangulate(views, spoiled, 30)
    assert (found.fits == ~bad).mean() > 0.98 and (found.count >= 5).all()
    for n in range(30):
        rows = (spoiled.point == n) & found.fits
        mine = replace(spoiled.take(rows), point=np.zeros(rows.sum(), np.int64))

        def off(x: np.ndarray, mine: Observed = mine) -> np.ndarray:
            return (bundle.project(replace(views, points=x[None]), mine)[0] - mine.xy).ravel()

        want = least_squares(off, views.points[n]).x
        assert np.linalg.norm(off(found.points[n])) <= np.linalg.norm(off(want)) + 1e-3


def test_points_come_out_alike_however_many_are_found_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    views = views_of()
    seen = seen_by(views, 0.3, 0.7)
    whole = triangulate(views, seen, 40)
    monkeypatch.setattr("trackime_apps.depth.sfm.triangulate.CHUNK", 7)
    parts = triangulate(views, seen, 40)
    np.testing.assert_allclose(parts.points, whole.points, rtol=1e-3)
    assert (parts.fits == whole.fits).mean() > 0.99
    assert len(triangulate(views, seen.take(slice(0, 0)), 0).points) == 0


def test_points_seen_once_or_never_are_not_found() -> None:
    views = views_of(points=3)
    seen = seen_by(views)
    seen = seen.take((seen.point == 0) | ((seen.point == 2) & (seen.camera == 1)))
    found = triangulate(views, seen, 3)
    assert np.isfinite(found.points[0]).all() and np.isnan(found.points[1:]).all()
    assert found.count.tolist() == [5, 0, 0] and found.angle[1:].tolist() == [0, 0]


def test_angles_are_near_the_widest_of_all_pairs() -> None:
    views = views_of(cameras=7)
    seen = seen_by(views, 0.0, 0.7)
    got = angles(views, seen, 40)
    centre = -np.einsum("mji,mj->mi", views.rotation, views.shift)
    for n in range(40):
        ray = views.points[n] - centre[seen.camera[seen.point == n]]
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        want = np.degrees(np.arccos(np.clip((ray @ ray.T).min(), -1, 1))) if len(ray) else 0.0
        assert 0.9 * want - 1e-5 <= got[n] <= want + 1e-5


def test_thinning_keeps_short_groups_and_both_ends() -> None:
    group = np.repeat(np.arange(4), [3, 0, 100, 17])
    rows = thinned(group, 4, 16)
    counts = np.bincount(group[rows], minlength=4)
    assert counts.tolist() == [3, 0, 16, 16]
    assert {0, 2, 3, 102, 103, 119} <= set(rows.tolist()) and (np.diff(rows) > 0).all()


# ---- two views, poses, focal lengths


def test_the_motion_between_two_frames() -> None:
    true = views_of(cameras=2, points=200)
    seen = seen_by(true, 0.2)
    a, b = seen.xy[::2].copy(), seen.xy[1::2].copy()
    b[:60] += np.random.default_rng(0).uniform(-40, 40, (60, 2))
    found = relative(a, b, 150.0)
    assert found is not None and found.fits[60:].mean() > 0.9 and found.fits[:60].mean() < 0.2
    turn = true.rotation[1] @ true.rotation[0].T
    shift = true.shift[1] - turn @ true.shift[0]
    assert np.degrees(Rotation.from_matrix(found.rotation @ turn.T).magnitude()) < 1
    assert found.shift @ shift / np.linalg.norm(shift) > 0.995
    again = relative(a, b, 150.0)
    assert again is not None and (again.rotation == found.rotation).all()


def test_sampson_is_the_distance_to_the_nearest_true_pair() -> None:
    true = views_of(cameras=2, points=6)
    seen = seen_by(true, 0.5)
    turn = true.rotation[1] @ true.rotation[0].T
    x, y, z = true.shift[1] - turn @ true.shift[0]
    matrix = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ turn
    got = sampson(matrix, seen.xy[::2], seen.xy[1::2], 150.0)
    one = Views(np.stack((np.eye(3), turn)), np.array([[0, 0, 0], [x, y, z]]), true.points[:1], 150.0)
    for n in range(6):
        mine = replace(seen.take(seen.point == n), point=np.zeros(2, np.int64))

        def off(p: np.ndarray, mine: Observed = mine) -> np.ndarray:
            return (bundle.project(replace(one, points=p[None]), mine)[0] - mine.xy).ravel()

        start = true.rotation[0] @ true.points[n] + true.shift[0]
        best = np.linalg.norm(least_squares(off, start, xtol=1e-12, ftol=1e-12).fun)
        assert got[n] == pytest.approx(best, rel=0.02, abs=1e-4)


def test_a_pose_from_points_of_which_many_are_wrong() -> None:
    true = views_of(cameras=1, points=80)
    seen = seen_by(true, 0.2)
    xy = seen.xy.copy()
    xy[:30] += np.random.default_rng(0).uniform(-60, 60, (30, 2))
    scaled = 1000 * true.points  # whatever the world's scale
    found = resect(scaled, xy, 150.0)
    assert found is not None
    one = Views(found[0][None], found[1][None] / 1000, true.points, 150.0)
    one = refine_poses(one, replace(seen, xy=xy))
    assert np.degrees(Rotation.from_matrix(one.rotation[0] @ true.rotation[0].T).magnitude()) < 0.3
    assert resect(scaled[:5], xy[:5], 150.0) is None
    assert resect(scaled, np.random.default_rng(1).uniform(-60, 60, (80, 2)), 150.0) is None


def test_refined_poses_are_least_squares_each_by_itself() -> None:
    true = views_of(cameras=3)
    seen = replace(seen_by(true, 0.2, 0.8), weight=np.full(len(seen_by(true, 0.2, 0.8).point), 0.1))  # no outliers
    start = replace(shaken(true, 0.05), points=true.points, focal=true.focal)
    got = refine_poses(start, seen, 40)
    for m in range(3):
        mine = seen.take(seen.camera == m)

        def off(step: np.ndarray, mine: Observed = mine, m: int = m) -> np.ndarray:
            cameras = np.zeros((3, 6))
            cameras[m] = step
            return (bundle.project(bundle.moved(true, cameras, np.zeros((40, 3)), 0.0), mine)[0] - mine.xy).ravel()

        want = least_squares(off, np.zeros(6)).fun
        assert np.linalg.norm(errors(got, mine)) <= np.linalg.norm(want) * (1 + 1e-6)


def test_rotation_leaves_nothing_of_a_turn_and_parallax_of_a_move() -> None:
    still = replace(views_of(cameras=2, points=100), shift=np.zeros((2, 3)))
    seen = seen_by(still)
    tried = candidates(160)
    assert parallax(seen.xy[::2], seen.xy[1::2], np.array([150.0])) < 1e-6
    assert explained(seen.xy[::2], seen.xy[1::2], tried, 1.5) == 1
    moved = seen_by(views_of(cameras=2, points=100))
    assert parallax(moved.xy[::2], moved.xy[1::2], tried) > 5
    assert explained(moved.xy[::2], moved.xy[1::2], tried, 1.5) < 0.5
    bad = seen.xy[1::2].copy()
    bad[:20] += 30
    assert explained(seen.xy[::2], bad, np.array([150.0]), 1.5) == pytest.approx(0.8)


def test_sightings_by_frame_are_those_of_trails() -> None:
    rng = np.random.default_rng(0)
    length = rng.integers(1, 6, 50)
    frame = np.concatenate([np.sort(rng.choice(8, n, replace=False)) for n in length])
    first = np.concatenate(([0], np.cumsum(length)))
    k = len(frame)
    trails = Trails(8, first, frame, rng.uniform(0, 99, (k, 2)), rng.uniform(0.1, 9, k), np.zeros(50))
    at = Sightings(trails, 100, 80, 0.5)
    np.testing.assert_allclose(at.xy, (trails.xy - [50, 40]) * 0.5)
    assert at.weight.min() >= 0.25 and at.weight.max() <= 2 and np.median(at.weight) == pytest.approx(1)
    for i in range(8):
        assert at.at(i).tolist() == trails.at(i)[1].tolist()
        for j in range(8):
            assert [rows.tolist() for rows in at.between(i, j)] == [rows.tolist() for rows in trails.between(i, j)[1:]]


def test_keyframes_have_parallax_between_them() -> None:
    views = views_of(cameras=40, points=300)
    at = Sightings(trails_of(views, 300, 200), 300, 200)
    keys = keyframes(at, 0, 40, 300, np.array([150.0]))
    assert keys[0] == 0 and keys[-1] == 39 and 4 <= len(keys) < 40
    blank = at.frame[at.first[:-1]] >= 0  # a video whose first frames see nothing
    late = trails_of(views, 300, 200).take(blank).seen(trails_of(views, 300, 200).frame >= 5)
    keys = keyframes(Sightings(late, 300, 200), 0, 40, 300, np.array([150.0]))
    assert keys[0] == 5 and keys[-1] == 39


def test_the_sweep_finds_the_focal_length_and_falls_back_on_the_usual_one() -> None:
    views = views_of(cameras=6, points=300, focal=200.0)
    turn = Rotation.from_rotvec(np.linspace(-0.3, 0.3, 6)[:, None] * [0.2, -1, 0]).as_matrix()
    centre = -np.einsum("mji,mj->mi", views.rotation, views.shift)
    views = Views(turn, -np.einsum("mij,mj->mi", turn, centre), views.points, 200.0)
    at = Sightings(trails_of(views, 300, 300, 0.1), 300, 300)
    tried = candidates(300)
    costs = sweep(at, [(0, 3), (1, 5), (2, 5)], tried)
    assert costs is not None and likely(tried, costs, 300) == pytest.approx(200, rel=0.12)
    assert likely(tried, np.full(12, 0.3), 300) == pytest.approx(0.95 * 300, rel=0.1)
    plane = replace(views, points=views.points * [1, 1, 0] + [0, 0, 4])
    assert sweep(Sightings(trails_of(plane, 300, 300, 0.1), 300, 300), [(0, 3), (1, 5)], tried) is None


# ---- whole scenes


@cache
def scene(path: str, seed: int = 0, movers: int = 2) -> Scene:
    return make_scene(seed, width=W, height=H, frames=16, path=path, movers=movers)


def true_trails(world: Scene, noise: float = 0.0, outliers: float = 0.0, n: int = 100, every: int = 6) -> Trails:
    """True points sampled every few frames; noise in pixels, and a share of the sightings anywhere near."""
    rng = np.random.default_rng(0)
    trails = Trails.join([Trails.of(world.sample(n, seed=t, t=t)) for t in range(0, len(world), every)])
    xy = trails.xy + rng.normal(0, noise, trails.xy.shape)
    bad = rng.random(len(xy)) < outliers
    xy[bad] += rng.uniform(-20, 20, (int(bad.sum()), 2))
    return replace(trails, xy=xy)


def off_path(found: np.ndarray, true: np.ndarray) -> float:
    """Root of the mean squared distance of camera centres after the best similarity (Umeyama 1991), over the path."""
    a, b = found[:, :3, 3], true[:, :3, 3]
    p, q = a - a.mean(0), b - b.mean(0)
    u, s, v = np.linalg.svd(q.T @ p)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ v))])
    scale = (s * sign).sum() / (p**2).sum()
    gap = scale * p @ ((u * sign) @ v).T - q
    return float(np.sqrt((gap**2).sum(1).mean()) / np.linalg.norm(np.diff(b, axis=0), axis=1).sum())


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
    trails = true_trails(world, noise, outliers)
    said: list[str] = []
    found = sfm.reconstruct(
        trails, W, H, focal=true if given else None, progress=lambda stage, done, total: said.append(stage)
    )
    assert off_path(found.cameras.poses, world.poses) < most
    assert found.cameras.focal == pytest.approx(true, rel=1e-12 if given else 0.01 if noise == 0 else 0.05)
    assert found.known.all() and (found.part == 0).all() and "keyframes" in said
    np.testing.assert_allclose(found.cameras.poses[0], np.eye(4), atol=1e-9)
    # Points lie where their trails say, at a median depth of 1, and few of them are on movers.
    off, depth = [], []
    for t in range(len(world)):
        points, rows = trails.at(t)
        mine = np.isin(points, found.point)
        xy, z = found.cameras.project(found.points[np.searchsorted(found.point, points[mine])], t)
        off.append(np.linalg.norm(xy - trails.xy[rows[mine]], axis=1))
        depth.append(z)
    assert np.median(np.concatenate(off)) < 0.02 + 1.3 * noise
    assert np.median(np.concatenate(depth)) == pytest.approx(1, rel=0.05)
    assert (trails.instance[found.point] > 0).mean() < 0.05


def test_points_said_to_move_are_left_out_and_the_same_comes_twice() -> None:
    world = scene("orbit", 1)
    trails = true_trails(world, 0.25)
    static = trails.instance == 0
    one = sfm.reconstruct(trails, W, H, focal=140.0, static=static)
    two = sfm.reconstruct(trails, W, H, focal=140.0, static=static)
    assert static[one.point].all()
    assert (one.cameras.poses == two.cameras.poses).all() and (one.points == two.points).all()


@pytest.mark.parametrize("path", ["static", "rotation"])
@pytest.mark.parametrize(
    ("noise", "movers", "given"), [(0.0, 0, False), (0.0, 2, True), (0.3, 2, True), (0.3, 2, False)]
)
def test_a_camera_that_does_not_translate_is_refused(path: str, noise: float, movers: int, given: bool) -> None:
    world = scene(path, 0, movers)
    with pytest.raises(SolveError, match="--depth-model") as caught:
        sfm.reconstruct(true_trails(world, noise), W, H, focal=world.intrinsics[0, 0] if given else None)
    assert "\n" not in str(caught.value)


def test_three_frames() -> None:
    world = make_scene(3, width=W, height=H, frames=3, movers=0, path="orbit", speed=0.3)
    trails = true_trails(world, n=400)
    found = sfm.reconstruct(trails, W, H, focal=world.intrinsics[0, 0])
    assert off_path(found.cameras.poses, world.poses) < 0.002
    with pytest.raises(SolveError, match="at least 3 frames, got 2"):
        sfm.reconstruct(Trails(2, [0, 2], [0, 1], np.ones((2, 2)), np.ones(2), [0]), W, H)


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_no_points(frames: int) -> None:
    with pytest.raises(SolveError, match="--depth-model"):
        sfm.reconstruct(Trails.none(frames), W, H)


def test_frames_that_see_nothing_are_between_their_neighbours() -> None:
    world = scene("orbit", 1)
    trails = true_trails(world)
    trails = trails.seen(~np.isin(trails.frame, (7, 15)))
    found = sfm.reconstruct(trails, W, H, focal=world.intrinsics[0, 0])
    assert found.known.tolist() == [t not in (7, 15) for t in range(16)]
    centre = found.cameras.poses[:, :3, 3]
    np.testing.assert_allclose(centre[7], (centre[6] + centre[8]) / 2, atol=1e-9)
    np.testing.assert_allclose(found.cameras.poses[15], found.cameras.poses[14], atol=1e-9)


def test_each_side_of_a_cut_has_a_world_of_its_own() -> None:
    world = make_scene(4, width=W, height=H, frames=24, objects=3, movers=0, path="orbit", cut=True)
    parts = [Trails.of(world.sample(150, seed=t, t=t)) for t in (0, 6, 12, 18)]
    trails = Trails.join(parts)
    found = sfm.reconstruct(trails, W, H, focal=world.intrinsics[0, 0])
    assert found.part.tolist() == [0] * 12 + [1] * 12
    for k, piece in enumerate((slice(0, 12), slice(12, 24))):
        np.testing.assert_allclose(found.cameras.poses[piece][0], np.eye(4), atol=1e-9)
        assert off_path(found.cameras.poses[piece], world.poses[piece]) < 0.005, k
    # One side that cannot be solved is named.
    few = trails.seen((trails.frame < 12) | (trails.frame % 12 < 2))
    with pytest.raises(SolveError, match=r"frames 12 to 23 \(between cuts\).*--depth-model"):
        sfm.reconstruct(few, W, H)


def test_a_flat_scene_needs_the_focal_length() -> None:
    views = views_of(cameras=12, points=200)
    plane = replace(views, points=views.points * [1, 1, 0] + np.array([0, 0, 4]) + views.points[:, :1] * [0, 0, 0.4])
    trails = trails_of(plane, 300, 200, 0.1)
    with pytest.raises(SolveError, match="flat"):
        sfm.reconstruct(trails, 300, 200)
    found = sfm.reconstruct(trails, 300, 200, focal=150.0)
    poses = np.tile(np.eye(4), (12, 1, 1))
    poses[:, :3, :3] = plane.rotation.transpose(0, 2, 1)
    poses[:, :3, 3] = -np.einsum("mji,mj->mi", plane.rotation, plane.shift)
    assert off_path(found.cameras.poses, poses) < 0.01


def test_noise_is_no_scene() -> None:
    rng = np.random.default_rng(0)
    n, frames = 200, 8
    first, frame = np.arange(n + 1) * frames, np.tile(np.arange(frames), n)
    xy = rng.uniform(0, 100, (n * frames, 2))
    trails = Trails(frames, first, frame, xy, np.ones(n * frames), np.zeros(n))
    with pytest.raises(SolveError, match="--depth-model"):
        sfm.reconstruct(trails, 100, 100, focal=100.0)


def test_bad_input_is_said() -> None:
    trails = true_trails(scene("orbit", 1))
    for kwargs in ({"focal": 0.0}, {"focal": np.nan}, {"focal": -3.0}):
        with pytest.raises(InputError, match="focal"):
            sfm.reconstruct(trails, W, H, **kwargs)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1x1"):
        sfm.reconstruct(trails, 0, H)
    with pytest.raises(ShapeError, match="static"):
        sfm.reconstruct(trails, W, H, static=np.ones(3, bool))


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
