"""Matches from trails: which pairs, which depths, which weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.errors import InputError, ShapeError
from trackime.types import RaggedTracks
from trackime_apps.depth import depth_at, hierarchical_pairs, make_matches
from trackime_apps.depth.matches import _EDGE


class Maps:
    """Depth maps from an array [F, h, w], which note when they are read."""

    disparity = metric = False

    def __init__(self, depth: np.ndarray) -> None:
        self._depth = depth
        self.asked: list[int] = []

    def depth(self, t: int) -> np.ndarray:
        self.asked.append(t)
        return self._depth[t]


def trails_of(seen: np.ndarray, seed: int = 0, size: tuple[int, int] = (20, 12)) -> RaggedTracks:
    """RaggedTracks with the visibility given, bool [N, F], at random places of a frame (w, h)."""
    rng = np.random.default_rng(seed)
    seen = seen[seen.any(1)]
    frame = np.nonzero(seen)[1]
    first = np.concatenate(([0], np.cumsum(seen.sum(1))))
    xy = rng.uniform(0, size, (len(frame), 2))
    return RaggedTracks(seen.shape[1], first, frame, xy, rng.uniform(0.1, 2, len(frame)), np.full(len(seen), -1))


def slow_read(depth: np.ndarray, xy: tuple[float, float], width: int, height: int) -> float:
    """One place, by definition."""
    h, w = depth.shape
    if not (0 <= xy[0] <= width and 0 <= xy[1] <= height):
        return 0.0
    u = min(max(xy[0] * w / width - 0.5, 0), w - 1)
    v = min(max(xy[1] * h / height - 0.5, 0), h - 1)
    total, values = 0.0, []
    for y in range(h):
        for x in range(w):
            share = max(0, 1 - abs(u - x)) * max(0, 1 - abs(v - y))
            if share > 1e-12:
                if not depth[y, x] > 0:
                    return 0.0
                values.append(depth[y, x])
                total += share / depth[y, x]
    return 0.0 if max(values) > _EDGE * min(values) else 1 / total


def slow_matches(trails: RaggedTracks, depth: np.ndarray, width: int, height: int, static: np.ndarray) -> dict:
    """All matches by (point, i, j): depths, weight, sigma."""
    found: dict[tuple[int, int, int], list[float]] = {}
    sightings = {}
    for n in range(len(trails)):
        for k in range(trails.first[n], trails.first[n + 1]):
            t = int(trails.frame[k])
            z = slow_read(depth[t], trails.xy[k].astype(float), width, height)
            if z > 0 and static[n] > 0:
                sightings[n, t] = (k, z)
    for n in range(len(trails)):
        mine = []
        for i, j in hierarchical_pairs(trails.frames):
            if (n, i) in sightings and (n, j) in sightings:
                mine += [(i, j), (j, i)]
        frames = len({t for pair in mine for t in pair})
        for i, j in mine:
            (a, z), (b, y) = sightings[n, i], sightings[n, j]
            sigma = max(0.3, float(np.hypot(trails.sigma[a], trails.sigma[b])))
            found[n, i, j] = [z, y, static[n] * frames / len(mine), sigma, *trails.xy[a], *trails.xy[b]]
    return found


def test_bad_input() -> None:
    trails = trails_of(np.ones((3, 4), bool))
    maps = Maps(np.ones((4, 6, 10)))
    with pytest.raises(ShapeError, match="static"):
        make_matches(trails, maps, 20, 12, static=np.ones(2))
    with pytest.raises(InputError, match="static"):
        make_matches(trails, maps, 20, 12, static=np.array([1, -1, 1]))
    with pytest.raises(InputError, match="per_pair"):
        make_matches(trails, maps, 20, 12, per_pair=-1)
    with pytest.raises(InputError, match="least_sigma"):
        make_matches(trails, maps, 20, 12, least_sigma=0)
    with pytest.raises(ShapeError, match="depth map"):
        depth_at(np.ones((2, 3, 1)), np.zeros((1, 2)), 4, 4)
    with pytest.raises(ShapeError, match="depth map"):
        depth_at(np.ones((0, 3)), np.zeros((1, 2)), 4, 4)


@pytest.mark.parametrize("frames", [1, 5])
def test_nothing_to_match(frames: int) -> None:
    maps = Maps(np.ones((frames, 6, 10)))
    assert len(make_matches(RaggedTracks.none(frames), maps, 20, 12)) == 0
    assert len(make_matches(trails_of(np.eye(frames, dtype=bool)), maps, 20, 12)) == 0
    assert len(make_matches(trails_of(np.ones((3, frames), bool)), Maps(np.zeros((frames, 6, 10))), 20, 12)) == 0
    assert len(make_matches(trails_of(np.ones((3, frames), bool)), maps, 20, 12, static=np.zeros(3, bool))) == 0


@pytest.mark.parametrize("frames", [1, 2, 3, 9, 50, 200])
def test_pairs_are_few_and_join_every_frame(frames: int) -> None:
    pairs = hierarchical_pairs(frames)
    assert len(set(pairs)) == len(pairs) <= 3 * frames
    assert all(0 <= i < j < frames and (j - i) & (j - i - 1) == 0 for i, j in pairs)
    assert {(i, i + 1) for i in range(frames - 1)} <= set(pairs)
    # By definition: level l begins every 2^max(0, l - 1) frames.
    levels = range(max(frames, 1).bit_length())
    wanted = {(i, i + 2**k) for k in levels for i in range(0, frames, 2 ** max(0, k - 1)) if i + 2**k < frames}
    assert set(pairs) == wanted


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_matches_are_what_a_slow_reading_of_the_rules_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, frames = int(rng.integers(1, 6)), int(rng.integers(1, 8))
    trails = trails_of(rng.random((n, frames)) < 0.7, seed)
    depth = rng.uniform(1, 1.1, (frames, int(rng.integers(1, 7)), int(rng.integers(1, 9))))
    depth[rng.random(depth.shape) < 0.1] = 0
    depth[rng.random(depth.shape) < 0.1] *= 2
    static = rng.choice([0, 0.5, 1], len(trails))
    maps = Maps(depth)
    got = make_matches(trails, maps, 20, 12, static=static, per_pair=0)
    assert len(maps.asked) == len(set(maps.asked))
    truth = slow_matches(trails, depth, 20, 12, static)
    assert len(got) == len(truth)
    place = {(int(t), *map(float, p)): k for k, (t, p) in enumerate(zip(trails.frame, trails.xy, strict=True))}
    for m in range(len(got)):
        i, j = int(got.i[m]), int(got.j[m])
        n = trails.point[place[(i, *got.x_i[m].tolist())]]
        values = [float(got.d_i[m]), float(got.d_j[m]), float(got.weight[m]), float(got.sigma[m])]
        np.testing.assert_allclose([*values, *got.x_i[m].tolist(), *got.x_j[m].tolist()], truth[n, i, j], rtol=1e-6)


def test_a_point_weighs_as_much_as_it_has_frames() -> None:
    seen = np.zeros((3, 40), bool)
    seen[0], seen[1, :4], seen[2, 3:5] = True, True, True
    trails = trails_of(seen)
    got = make_matches(trails, Maps(np.ones((40, 6, 10))), 20, 12, static=np.array([1, 1, 0.5]))
    weight = np.zeros(3)
    for n in range(3):
        own = {tuple(p) for p in trails.xy[trails.first[n] : trails.first[n + 1]].astype(float).tolist()}
        weight[n] = sum(float(got.weight[m]) for m in range(len(got)) if tuple(got.x_i[m].tolist()) in own)
    np.testing.assert_allclose(weight, [40, 4, 1])


def test_a_pair_keeps_to_its_most_and_both_directions() -> None:
    trails = trails_of(np.ones((50, 6), bool))
    got = make_matches(trails, Maps(np.ones((6, 6, 10))), 20, 12, per_pair=7)
    count: dict[tuple[int, int], int] = {}
    for pair in zip(got.i.tolist(), got.j.tolist(), strict=True):
        count[pair] = count.get(pair, 0) + 1
    assert set(count.values()) == {7} and set(count) == {p for a, b in hierarchical_pairs(6) for p in ((a, b), (b, a))}
    there = {(i, j, *p) for i, j, p in zip(got.i.tolist(), got.j.tolist(), map(tuple, got.x_i.tolist()), strict=True)}
    back = {(j, i, *p) for i, j, p in zip(got.i.tolist(), got.j.tolist(), map(tuple, got.x_j.tolist()), strict=True)}
    assert there == back
    assert got.d_i.dtype == torch.float64 and got.i.dtype == torch.int64


@pytest.mark.parametrize("size", [(12, 20), (6, 10), (37, 53)])
def test_planes_are_read_exactly_at_any_resolution(size: tuple[int, int]) -> None:
    # 1 / z is linear in the pixels on a plane.
    h, w = size
    y, x = np.mgrid[:h, :w]
    depth = 1 / (0.5 + 0.002 * (x + 0.5) * 20 / w + 0.003 * (y + 0.5) * 12 / h)
    xy = np.random.default_rng(0).uniform([2, 2], [18, 10], (200, 2))
    np.testing.assert_allclose(depth_at(depth, xy, 20, 12), 1 / (0.5 + xy @ [0.002, 0.003]), rtol=1e-9)


def test_nothing_is_read_across_an_edge_or_from_the_unknown() -> None:
    depth = np.full((4, 4), 2.0)
    depth[:, 2:] = 4.0
    depth[3, 0] = 0
    depth[0, 0] = np.nan
    places = np.array([(1.5, 1.5), (2.0, 1.5), (2.5, 1.5), (1.0, 3.0), (1.5, 2.0), (0.5, 0.5), (5, 1), (1.5, 0.5)])
    np.testing.assert_allclose(depth_at(depth, places, 4, 4), [2, 0, 4, 0, 2, 0, 0, 2])
