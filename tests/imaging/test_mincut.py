"""Minimum cuts against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.errors import InputError, ShapeError
from trackime.imaging import contrast_edges, min_cut
from trackime.imaging.mincut import _DIRECTIONS


def _energy(labels: np.ndarray, logits: np.ndarray, edges: np.ndarray) -> float:
    """E(x) of the module's formula, pair by pair."""
    h, w = labels.shape
    total = -float(logits[labels].sum())
    for k, (dy, dx) in enumerate(_DIRECTIONS):
        for y, x in itertools.product(range(h - dy), range(max(0, -dx), w - max(0, dx))):
            total += float(edges[k, y, x]) * bool(labels[y, x] != labels[y + dy, x + dx])
    return total


class TestMinCut:
    def _random(self, seed: int, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        # Multiples of the capacities' unit: rounding must not blur the comparison.
        logits = rng.integers(-200, 201, (h, w)) / 64
        edges = rng.integers(0, 100, (4, h, w)) / 64
        for k, (dy, dx) in enumerate(_DIRECTIONS):
            for y, x in itertools.product(range(h), range(w)):
                if not (0 <= y + dy < h and 0 <= x + dx < w):
                    edges[k, y, x] = 0
        return logits, edges

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3))
    def test_equals_brute_force(self, seed: int, h: int, w: int) -> None:
        logits, edges = self._random(seed, h, w)
        labellings = itertools.product([False, True], repeat=h * w)
        best = min(_energy(np.array(x).reshape(h, w), logits, edges) for x in labellings)
        assert _energy(min_cut(logits, edges), logits, edges) == pytest.approx(best, abs=1e-9)

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 10**6))
    def test_decided_pixels_stay_and_pull(self, seed: int) -> None:
        logits, edges = self._random(seed, 3, 4)
        rng = np.random.default_rng(seed)
        free, fixed = rng.random((3, 4)) < 0.6, rng.random((3, 4)) < 0.5
        got = min_cut(logits, edges, free, fixed)
        assert (got[~free] == fixed[~free]).all()
        best = np.inf
        for bits in itertools.product([False, True], repeat=int(free.sum())):
            trial = fixed.copy()
            trial[free] = bits
            best = min(best, _energy(trial, logits, edges))
        assert _energy(got, logits, edges) == pytest.approx(best, abs=1e-9)

    def test_no_labelling_of_a_larger_grid_is_cheaper(self) -> None:
        logits, edges = self._random(5, 20, 30)
        best = _energy(min_cut(logits, edges), logits, edges)
        rng = np.random.default_rng(0)
        for _ in range(50):
            assert _energy(rng.random((20, 30)) < rng.random(), logits, edges) >= best
        assert _energy(logits > 0, logits, edges) >= best

    def test_without_borders_the_sign_decides(self) -> None:
        logits = np.random.default_rng(0).normal(size=(9, 7))
        assert (min_cut(logits, np.zeros((4, 9, 7))) == (logits > 1 / 128)).all()

    def test_edges_are_cheap_on_contrast_and_absent_outside(self) -> None:
        image = np.zeros((5, 6, 3))
        image[:, 3:] = 50
        edges = contrast_edges(image, 2.0, floor=0.1)
        assert edges[0, 2, 2] < 0.3 and edges[0, 2, 1] == pytest.approx(2.0)
        assert (edges[0, :, -1] == 0).all() and (edges[2, -1] == 0).all() and (edges[1, :, 0] == 0).all()
        assert edges[3, 0, 0] == pytest.approx(2 / np.sqrt(2))

    def test_bad_input(self) -> None:
        with pytest.raises(ShapeError, match="edges"):
            min_cut(np.zeros((3, 3)), np.zeros((4, 3, 4)))
        with pytest.raises(InputError, match="finite"):
            min_cut(np.full((3, 3), np.nan), np.zeros((4, 3, 3)))
        with pytest.raises(InputError, match="fixed"):
            min_cut(np.zeros((3, 3)), np.zeros((4, 3, 3)), np.ones((3, 3), bool))

    def test_nothing_to_decide(self) -> None:
        fixed = np.eye(3, dtype=bool)
        assert (min_cut(np.zeros((3, 3)), np.zeros((4, 3, 3)), np.zeros((3, 3), bool), fixed) == fixed).all()
