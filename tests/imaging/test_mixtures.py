"""Gaussian mixtures of colours, and CIE Lab."""

from __future__ import annotations

import numpy as np
import pytest

from trackime.errors import ShapeError
from trackime.imaging import fit_mixture, log_ratio, to_lab


class TestColour:
    def test_density_integrates_to_one(self) -> None:
        rng = np.random.default_rng(0)
        mixture = fit_mixture(np.concatenate([rng.normal(0, 2, (300, 2)), rng.normal(12, 3, (300, 2))]), 3)
        assert mixture is not None
        axis = np.arange(-30, 50, 0.5)
        grid = np.stack(np.meshgrid(axis, axis), -1)
        assert np.exp(mixture.log_likelihood(grid)).sum() * 0.25 == pytest.approx(1, abs=1e-3)

    def test_one_gaussian_has_its_samples_moments(self) -> None:
        x = np.random.default_rng(1).normal([5, -3, 2], [4, 2, 3], (1000, 3))
        mixture = fit_mixture(x, 1)
        assert mixture is not None
        assert mixture.means[0] == pytest.approx(x.mean(0), abs=1e-6)
        covariance = np.linalg.inv(mixture.whiten[0].T @ mixture.whiten[0])
        assert covariance == pytest.approx(np.cov(x.T, bias=True) + 1.5**2 * np.eye(3), abs=1e-6)

    def test_reproducible_and_telling(self) -> None:
        rng = np.random.default_rng(0)
        a, b = rng.normal([60, 40, 20], 5, (3000, 3)), rng.normal([40, -30, 20], 5, (3000, 3))
        first, second = fit_mixture(a, seed=3), fit_mixture(a, seed=3)
        assert first is not None and second is not None
        assert (first.means == second.means).all()
        ratio = log_ratio(np.stack([a[:5], b[:5]]), first, fit_mixture(b))
        assert (ratio[0] > 3).all() and (ratio[1] < -3).all()
        # A colour far from both has a ratio near 0.
        assert abs(float(log_ratio(np.array([100.0, 90, -90]), first, fit_mixture(b)))) < 0.1

    def test_no_samples(self) -> None:
        assert fit_mixture(np.zeros((0, 3))) is None
        assert (log_ratio(np.zeros((2, 2, 3)), None, fit_mixture(np.zeros((20, 3)))) == 0).all()

    def test_lab_of_white(self) -> None:
        white = np.full((1, 1, 3), 255, np.uint8)
        assert to_lab(white)[0, 0] == pytest.approx([100, 0, 0], abs=0.1)
        with pytest.raises(ShapeError, match="frame"):
            to_lab(np.zeros((4, 4)))
