"""Consistency of depth along tracks: bad input, hand-computed cases, a slow reference, what must not change it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trackime.errors import InputError, ShapeError
from trackime.geometry import Cameras
from trackime.metrics import along, consistency, flicker
from trackime.metrics._consistency import _read
from trackime.types import RaggedTracks
from trackime.worlds import make_scene

SIZE = 64, 48


def ragged(xy, seen=None):
    """Points xy [N, F, 2], seen bool [N, F] (each once at least)."""
    xy = np.asarray(xy, float)
    seen = np.ones(xy.shape[:2], bool) if seen is None else seen
    first = np.concatenate(([0], np.cumsum(seen.sum(1))))
    return RaggedTracks(xy.shape[1], first, np.nonzero(seen)[1], xy[seen], np.ones(seen.sum()), np.full(len(xy), -1))


@pytest.fixture(scope="module")
def world():
    """A scene, its cameras, and the true tracks and depths of what does not move."""
    scene = make_scene(seed=4, width=SIZE[0], height=SIZE[1], frames=8, objects=3, movers=1, path="orbit", noise=0.0)
    dense = scene.sample(150, seed=1, ids=[0])
    tracks = RaggedTracks.of(dense)
    bodies, points = scene.lift(dense.queries.xy, dense.queries.t)
    depths = scene.follow(bodies, points)[1]
    z = depths[np.flatnonzero(dense.visible.any(1))[tracks.point], tracks.frame]
    return scene, Cameras(scene.poses, np.full(8, scene.focal), *SIZE), tracks, z


def test_refuses(world):
    _, cameras, tracks, z = world
    with pytest.raises(ShapeError, match=r"z: expected shape .*one depth per observation, got"):
        consistency(z[1:], tracks, cameras)
    with pytest.raises(InputError, match="gap: expected 1 or more frames, got 0"):
        consistency(z, tracks, cameras, gaps=(1, 0))
    with pytest.raises(InputError, match="cameras: expected 8 as the tracks' frames, got 7"):
        consistency(z, tracks, Cameras(cameras.poses[1:], cameras.focal[1:], *SIZE))
    for rows, gaps in ((np.full_like(z, np.nan), (1,)), (z, (8, 30))):
        with pytest.raises(InputError, match=r"expected points of known depth seen .* frames apart, got none"):
            consistency(rows, tracks, cameras, gaps)
    with pytest.raises(InputError, match="got none"):
        consistency(np.zeros(0), RaggedTracks.none(8), cameras)
    with pytest.raises(ShapeError, match="z:"):
        flicker(z[1:], tracks)
    for some in (RaggedTracks.none(3), ragged(np.zeros((2, 2, 2)))):
        with pytest.raises(InputError, match="three consecutive frames, got none"):
            flicker(np.ones(len(some.frame)), some)
    with pytest.raises(ShapeError, match=r"depth: expected shape \[h, w\]"):
        _read(np.zeros(3), [[0, 0]], 3, 1)


def test_by_hand():
    """A point 2 ahead of a camera that goes forward by 1: depth 2, then 1."""
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, 2, 3] = 1
    cameras = Cameras(poses, np.full(2, 50.0), *SIZE)
    tracks = ragged([[[32.0, 24.0], [32.0, 24.0]]])
    (right,) = consistency(np.array([2.0, 1.0]), tracks, cameras)
    assert (right.relative, right.log, right.behind, right.count, right.gap) == (0, 0, 0, 2, 1)
    (wrong,) = consistency(np.array([2.0, 2.0]), tracks, cameras)
    # Forwards 2 - 1 against 2, backwards 2 + 1 against 2.
    assert wrong.relative == pytest.approx((0.5 + 0.5) / 2)
    assert wrong.log == wrong.median == pytest.approx((math.log(2) + math.log(1.5)) / 2)
    (behind,) = consistency(np.array([0.5, 1.0]), tracks, cameras)
    assert behind.behind == 0.5 and behind.relative == pytest.approx((1 + 3) / 2)
    assert flicker(np.array([1.0, 2, 1, 5]), ragged(np.zeros((1, 4, 2)))) == pytest.approx(
        (2 * math.log(2) + math.log(2) + math.log(5)) / 2
    )


def test_true_depth_is_consistent(world):
    scene, cameras, tracks, z = world
    for row in consistency(z, tracks, cameras, (1, 3, 7)):
        assert row.relative < 1e-5 and row.log < 1e-5 and row.count > 100  # positions are float32
    assert flicker(z, tracks, z) == 0
    # Maps are sampled: near edges two surfaces mix.
    sampled = along(scene.depth, tracks, *SIZE)
    assert np.isfinite(sampled).all() and np.median(abs(sampled / z - 1)) < 2e-3


@pytest.mark.parametrize("seed", range(3))
def test_as_the_reference_has_it(world, seed):
    _, cameras, tracks, z = world
    rng = np.random.default_rng(seed)
    z = z * np.exp(0.2 * rng.standard_normal(len(z)))
    z[rng.random(len(z)) < 0.1] = np.nan
    for gap in (1, 3):
        off, log = [], []
        for n in range(len(tracks)):
            rows = range(tracks.first[n], tracks.first[n + 1])
            for a in rows:
                for b in rows:
                    if abs(tracks.frame[b] - tracks.frame[a]) == gap and np.isfinite(z[a]) and np.isfinite(z[b]):
                        world_point = cameras.lift(tracks.xy[[a]], z[[a]], tracks.frame[a])
                        there = cameras.project(world_point, tracks.frame[b])[1][0]
                        off.append(abs(there / z[b] - 1))
                        log.append(abs(math.log(there / z[b])))
        (got,) = consistency(z, tracks, cameras, (gap,))
        assert got.count == len(off) and got.relative == pytest.approx(np.mean(off))
        assert got.log == pytest.approx(np.mean(log)) and got.median == pytest.approx(np.median(log))
    bends = []
    for n in range(len(tracks)):
        at = {tracks.frame[k]: math.log(z[k]) for k in range(tracks.first[n], tracks.first[n + 1])}
        bends += [abs(at[t - 1] - 2 * at[t] + at[t + 1]) for t in at if t - 1 in at and t + 1 in at]
    assert flicker(z, tracks) == pytest.approx(np.nanmean(bends))


def test_the_unit_does_not_count(world):
    _, cameras, tracks, z = world
    z = z * np.exp(0.1 * np.random.default_rng(0).standard_normal(len(z)))
    poses = cameras.poses.copy()
    poses[:, :3, 3] *= 7
    larger = Cameras(poses, cameras.focal, *SIZE)
    for one, other in zip(consistency(z, tracks, cameras), consistency(7 * z, tracks, larger), strict=True):
        assert vars(one) == pytest.approx(vars(other))
    assert flicker(z, tracks) == pytest.approx(flicker(7 * z, tracks))


def test_bilinear():
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    # Centres, the middle, outside; a map of half the frame's size covers the same frame.
    np.testing.assert_allclose(_read(values, [[1, 1], [2, 2], [0, 0], [4, 2]], 4, 4), [1, 2.5, 1, 3])
    for unknown in (0.0, np.nan, np.inf, -1.0):
        got = _read(np.array([[1.0, 2, unknown]]), [[1, 0.5], [1.6, 0.5], [2.4, 0.5]], 3, 1)
        assert got[0] == 1.5 and np.isnan(got[1:]).all()
    assert _read(np.array([[5.0]]), [[3, 9]], 8, 9) == [5]
