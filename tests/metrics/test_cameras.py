"""Figures of cameras: bad input first, hand-computed cases, a slow reference, invariance to Sim(3)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from trackime.errors import InputError, ShapeError
from trackime.metrics import absolute_error, relative_error
from trackime.metrics.cameras import Similarity, angles, umeyama


def path(seed=0, frames=12, noise=0.0):
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, 3] = np.cumsum(rng.standard_normal((frames, 3)), 0)
    poses[:, :3, :3] = Rotation.from_rotvec(0.4 * rng.standard_normal((frames, 3))).as_matrix()
    if noise:
        poses[:, :3, 3] += noise * rng.standard_normal((frames, 3))
        turn = Rotation.from_rotvec(noise * rng.standard_normal((frames, 3))).as_matrix()
        poses[:, :3, :3] = poses[:, :3, :3] @ turn
    return poses


def similar(seed=1):
    rng = np.random.default_rng(seed)
    return Similarity(float(rng.uniform(0.1, 9)), Rotation.random(random_state=seed).as_matrix(), rng.normal(size=3))


def test_refuses():
    poses = path()
    with pytest.raises(ShapeError, match=r"truth: expected shape \[F, 4, 4\]"):
        absolute_error(poses[0], poses[0])
    with pytest.raises(ShapeError, match=r"estimate: expected shape \[12, 4, 4\] as the truth"):
        absolute_error(poses[1:], poses)
    with pytest.raises(ShapeError, match="known"):
        absolute_error(poses, poses, known=np.ones(3, bool))
    for call in (absolute_error, relative_error):
        with pytest.raises(InputError, match="expected 3 or more known poses to compare, got 2"):
            call(poses[:2], poses[:2])
        with pytest.raises(InputError, match="expected a true camera that moves, got a static one"):
            call(poses, np.tile(poses[3], (12, 1, 1)))
        with pytest.raises(InputError, match="estimate: expected finite poses"):
            call(np.where(np.arange(12)[:, None, None] == 4, np.nan, poses), poses)
    with pytest.raises(InputError, match="truth: expected finite poses where known"):
        absolute_error(poses, np.where(np.arange(12)[:, None, None] == 4, np.nan, poses), known=np.ones(12, bool))
    with pytest.raises(InputError, match="gap: expected 1 or more frames, got 0"):
        relative_error(poses, poses, 0)
    with pytest.raises(InputError, match="expected known poses 12 frames apart, got none among 12"):
        relative_error(poses, poses, 12)
    with pytest.raises(ShapeError, match="source"):
        umeyama(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(ShapeError, match="target"):
        umeyama(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(InputError, match="finite points"):
        umeyama(np.full((2, 3), np.nan), np.zeros((2, 3)))


def test_umeyama_finds_what_was_done():
    points = path(frames=20)[:, :3, 3]
    for seed in range(5):
        true = similar(seed)
        got = umeyama(points, true.points(points))
        assert got.scale == pytest.approx(true.scale)
        np.testing.assert_allclose(got.rotation, true.rotation, atol=1e-9)
        np.testing.assert_allclose(got.translation, true.translation, atol=1e-8)


def test_umeyama_is_the_least():
    """Against a search over all similarities, on points that no similarity joins, mirrored ones among them."""
    rng = np.random.default_rng(5)
    for mirrored in (False, True):
        x, y = rng.normal(size=(2, 8, 3))
        if mirrored:
            y = x * (1, 1, -1) + 0.05 * y
        got = umeyama(x, y)
        assert np.linalg.det(got.rotation) == pytest.approx(1)

        def cost(v, x=x, y=y):
            return ((np.exp(v[0]) * x @ Rotation.from_rotvec(v[1:4]).as_matrix().T + v[4:] - y) ** 2).sum()

        tries = [minimize(cost, np.r_[0, r, 0, 0, 0]).fun for r in 1.5 * rng.normal(size=(8, 3))]
        assert ((got.points(x) - y) ** 2).sum() == pytest.approx(min(tries), rel=1e-6)


def test_umeyama_degenerate():
    line = np.arange(4.0)[:, None] * (1, 2, 0)
    got = umeyama(line, 3 * line[:, ::-1])
    np.testing.assert_allclose(got.points(line), 3 * line[:, ::-1], atol=1e-9)
    assert np.linalg.det(got.rotation) == pytest.approx(1) and got.scale == pytest.approx(3)
    spot = umeyama(np.ones((4, 3)), line)
    assert spot.scale == 0 and np.linalg.det(spot.rotation) == pytest.approx(1)
    np.testing.assert_allclose(spot.points(np.ones((4, 3))), np.tile(line.mean(0), (4, 1)))


def test_by_hand():
    truth = np.tile(np.eye(4), (4, 1, 1))
    truth[:, :3, 3] = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    estimate = truth.copy()
    estimate[:, 2, 3] = [0.1, -0.1, 0.1, -0.1]  # twists a square: nothing can be aligned away but scale
    got = absolute_error(estimate, truth, with_scale=False)
    assert got.rmse == got.mean == got.median == got.largest == pytest.approx(0.1)
    assert got.path == 3 and got.share == pytest.approx(0.1 / 3) and got.scale == 1
    # With a scale s the corners are off by (1 - s) / sqrt 2 sideways; s = 2 / (2 + 4 * 0.01) is the best.
    s = 2 / 2.04
    got = absolute_error(estimate, truth)
    assert got.scale == pytest.approx(s)
    assert got.rmse == pytest.approx(math.sqrt((1 - s) ** 2 / 2 + (0.1 * s) ** 2))
    turned = truth.copy()
    turned[2:, :3, :3] = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    got = relative_error(turned, truth, 1)
    # Positions are the same; the turn happens once, and once moves the step that follows it.
    assert got.degrees == pytest.approx(30 / math.sqrt(3)) and got.mean_degrees == pytest.approx(10)
    assert got.translation == pytest.approx(2 * math.sin(math.radians(15)) / math.sqrt(3)) and got.count == 3


def test_standing_still_has_a_value():
    truth = path()
    got = absolute_error(np.tile(np.eye(4), (12, 1, 1)), truth)
    spread = math.sqrt(((truth[:, :3, 3] - truth[:, :3, 3].mean(0)) ** 2).sum(1).mean())
    assert got.scale == 0 and got.rmse == pytest.approx(spread)
    rotating = relative_error(path(seed=0), np.tile(np.eye(4), (12, 1, 1)), scale=1)
    assert rotating.degrees > 0  # with a scale given, a camera that turns on the spot has errors


def test_similarities_change_nothing():
    truth, estimate = path(), path(noise=0.1)
    ate = absolute_error(estimate, truth)
    for seed in range(3):
        moved = similar(seed).poses(estimate)
        assert absolute_error(moved, truth).rmse == pytest.approx(ate.rmse)
        for gap in (1, 5):
            one, other = relative_error(estimate, truth, gap), relative_error(moved, truth, gap)
            assert vars(one) == pytest.approx(vars(other))
        # The truth's own world: its unit alone counts.
        there = similar(seed)
        assert absolute_error(estimate, there.poses(truth)).rmse == pytest.approx(there.scale * ate.rmse)
        assert absolute_error(estimate, there.poses(truth)).share == pytest.approx(ate.share)
        assert absolute_error(there.poses(truth), truth).rmse == pytest.approx(0, abs=1e-9)


def test_relative_error_as_the_reference_has_it():
    truth, estimate = path(2), path(2, noise=0.2)
    known = np.ones(12, bool)
    known[[0, 5]] = False
    with np.errstate(invalid="ignore"):
        holes = np.where(known[:, None, None], truth, np.nan)
    scale = umeyama(estimate[known, :3, 3], truth[known, :3, 3]).scale
    moves, turns = [], []
    for i in range(12 - 3):
        if known[i] and known[i + 3]:
            a = np.linalg.inv(truth[i]) @ truth[i + 3]
            scaled = estimate.copy()
            scaled[:, :3, 3] *= scale
            off = np.linalg.inv(a) @ (np.linalg.inv(scaled[i]) @ scaled[i + 3])
            moves.append(np.linalg.norm(off[:3, 3]))
            turns.append(np.degrees(np.linalg.norm(Rotation.from_matrix(off[:3, :3]).as_rotvec())))
    for options in ({"known": known}, {}):
        got = relative_error(estimate, holes, 3, **options)
        assert got.count == len(moves) == 6
        assert got.translation == pytest.approx(np.sqrt(np.mean(np.square(moves))))
        assert got.degrees == pytest.approx(np.sqrt(np.mean(np.square(turns))))
        assert (got.mean_translation, got.mean_degrees) == pytest.approx((np.mean(moves), np.mean(turns)))


def test_angles():
    axis = np.array([0.6, 0.0, 0.8])
    for angle in (0.0, 1e-9, 1e-4, 1.0, math.pi - 1e-7, math.pi):
        assert angles(Rotation.from_rotvec(angle * axis).as_matrix()) == pytest.approx(angle, abs=1e-12, rel=1e-8)
