"""The steps of structure from motion on tracks, each against a slow reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from tests.apps.depth.cloud import seen_by, shaken, tracks_of, views_of
from trackime.geometry import sampson_distance
from trackime.types import RaggedTracks
from trackime_apps.depth.sfm import Observations, Views, _bundle, errors, triangulate
from trackime_apps.depth.sfm._bundle import Prior, _cost, _linearise, adjust
from trackime_apps.depth.sfm._focal import candidates, likely, sweep
from trackime_apps.depth.sfm._keyframes import keyframes
from trackime_apps.depth.sfm._observations import TrackObservations
from trackime_apps.depth.sfm._refine import refine_poses
from trackime_apps.depth.sfm._relative import relative_pose
from trackime_apps.depth.sfm._reprojection import BEHIND, jacobians, project
from trackime_apps.depth.sfm._resection import resect
from trackime_apps.depth.sfm._rotation import explained, parallax
from trackime_apps.depth.sfm._triangulate import angles, meet, thinned
from trackime_apps.depth.solver._rotations import exp_rotation

# ---- bundle adjustment


def test_jacobians_are_those_of_autograd() -> None:
    views = views_of()
    seen = seen_by(views, 3.0, 0.6)
    by_camera, by_point, by_focal, off = jacobians(views, seen)

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
    system = _linearise(views, seen, prior)
    got = flat_step(system.slope_c, system.slope_p, system.slope_f)

    def value(step: np.ndarray) -> float:
        return _cost(_bundle._moved(views, step[:18].reshape(3, 6), step[18:-1].reshape(8, 3), step[-1]), seen, prior)

    far = np.linalg.norm(project(views, seen)[0] - seen.xy, axis=1) * seen.weight
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
    got = flat_step(*_bundle._step(_linearise(views, seen, prior), seen, free, focal, damping))

    by_camera, by_point, by_focal, off = jacobians(views, seen)
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
    assert value < 1e-6 * _cost(start, seen)
    assert errors(found, seen).max() < 1e-2
    assert (found.rotation[0] == start.rotation[0]).all() or np.allclose(found.rotation[0], start.rotation[0])


def test_a_point_behind_the_camera_costs_and_pulls_nothing() -> None:
    views = views_of(cameras=2, points=2)
    seen = seen_by(views)
    behind = replace(views, points=views.points * [1, 1, -1])
    assert np.isinf(errors(behind, seen)).all()
    assert _cost(behind, seen) == pytest.approx(float((BEHIND * seen.weight - 0.5).sum()))
    assert not _linearise(behind, seen).slope_p.any()


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
    assert (found.inliers == ~bad).mean() > 0.98 and (found.count >= 5).all()
    for n in range(30):
        rows = (spoiled.point == n) & found.inliers
        mine = replace(spoiled.take(rows), point=np.zeros(rows.sum(), np.int64))

        def off(x: np.ndarray, mine: Observations = mine) -> np.ndarray:
            return (project(replace(views, points=x[None]), mine)[0] - mine.xy).ravel()

        want = least_squares(off, views.points[n]).x
        assert np.linalg.norm(off(found.points[n])) <= np.linalg.norm(off(want)) + 1e-3


def test_points_come_out_alike_however_many_are_found_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    views = views_of()
    seen = seen_by(views, 0.3, 0.7)
    whole = triangulate(views, seen, 40)
    monkeypatch.setattr("trackime_apps.depth.sfm._triangulate.CHUNK", 7)
    parts = triangulate(views, seen, 40)
    np.testing.assert_allclose(parts.points, whole.points, rtol=1e-3)
    assert (parts.inliers == whole.inliers).mean() > 0.99
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
    found = relative_pose(a, b, 150.0)
    assert found is not None and found.inliers[60:].mean() > 0.9 and found.inliers[:60].mean() < 0.2
    turn = true.rotation[1] @ true.rotation[0].T
    shift = true.shift[1] - turn @ true.shift[0]
    assert np.degrees(Rotation.from_matrix(found.rotation @ turn.T).magnitude()) < 1
    assert found.shift @ shift / np.linalg.norm(shift) > 0.995
    again = relative_pose(a, b, 150.0)
    assert again is not None and (again.rotation == found.rotation).all()


def test_sampson_is_the_distance_to_the_nearest_true_pair() -> None:
    true = views_of(cameras=2, points=6)
    seen = seen_by(true, 0.5)
    turn = true.rotation[1] @ true.rotation[0].T
    x, y, z = true.shift[1] - turn @ true.shift[0]
    matrix = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ turn
    got = 150.0 * sampson_distance(matrix, seen.xy[::2] / 150.0, seen.xy[1::2] / 150.0)
    one = Views(np.stack((np.eye(3), turn)), np.array([[0, 0, 0], [x, y, z]]), true.points[:1], 150.0)
    for n in range(6):
        mine = replace(seen.take(seen.point == n), point=np.zeros(2, np.int64))

        def off(p: np.ndarray, mine: Observations = mine) -> np.ndarray:
            return (project(replace(one, points=p[None]), mine)[0] - mine.xy).ravel()

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

        def off(step: np.ndarray, mine: Observations = mine, m: int = m) -> np.ndarray:
            cameras = np.zeros((3, 6))
            cameras[m] = step
            return (project(_bundle._moved(true, cameras, np.zeros((40, 3)), 0.0), mine)[0] - mine.xy).ravel()

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
    tracks = RaggedTracks(8, first, frame, rng.uniform(0, 99, (k, 2)), rng.uniform(0.1, 9, k), np.zeros(50))
    at = TrackObservations(tracks, 100, 80, 0.5)
    np.testing.assert_allclose(at.xy, (tracks.xy - [50, 40]) * 0.5)
    assert at.weight.min() >= 0.25 and at.weight.max() <= 2 and np.median(at.weight) == pytest.approx(1)
    for i in range(8):
        assert at.at(i).tolist() == tracks.at(i)[1].tolist()
        for j in range(8):
            assert [rows.tolist() for rows in at.between(i, j)] == [rows.tolist() for rows in tracks.between(i, j)[1:]]


def test_keyframes_have_parallax_between_them() -> None:
    views = views_of(cameras=40, points=300)
    at = TrackObservations(tracks_of(views, 300, 200), 300, 200)
    keys = keyframes(at, 0, 40, 300, np.array([150.0]))
    assert keys[0] == 0 and keys[-1] == 39 and 4 <= len(keys) < 40
    blank = at.frame[at.first[:-1]] >= 0  # a video whose first frames see nothing
    late = tracks_of(views, 300, 200).take(blank).seen(tracks_of(views, 300, 200).frame >= 5)
    keys = keyframes(TrackObservations(late, 300, 200), 0, 40, 300, np.array([150.0]))
    assert keys[0] == 5 and keys[-1] == 39


def test_the_sweep_finds_the_focal_length_and_falls_back_on_the_usual_one() -> None:
    views = views_of(cameras=6, points=300, focal=200.0)
    turn = Rotation.from_rotvec(np.linspace(-0.3, 0.3, 6)[:, None] * [0.2, -1, 0]).as_matrix()
    centre = -np.einsum("mji,mj->mi", views.rotation, views.shift)
    views = Views(turn, -np.einsum("mij,mj->mi", turn, centre), views.points, 200.0)
    at = TrackObservations(tracks_of(views, 300, 300, 0.1), 300, 300)
    tried = candidates(300)
    costs = sweep(at, [(0, 3), (1, 5), (2, 5)], tried)
    assert costs is not None and likely(tried, costs, 300) == pytest.approx(200, rel=0.12)
    assert likely(tried, np.full(12, 0.3), 300) == pytest.approx(0.95 * 300, rel=0.1)
    plane = replace(views, points=views.points * [1, 1, 0] + [0, 0, 4])
    assert sweep(TrackObservations(tracks_of(plane, 300, 300, 0.1), 300, 300), [(0, 3), (1, 5)], tried) is None
