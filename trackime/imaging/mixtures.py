"""Colour models: Gaussian mixtures in CIE Lab, small enough to be fitted anew for every mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trackime.arrays import Float32
from trackime.errors import ShapeError

_Float = npt.NDArray[Any]

_SPREAD = 1.5
"""Standard deviation in Lab units added to every component: camera noise, and colours between samples."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of K Gaussians over d features.

    Attributes:
        weights: [K], sum 1.
        means: [K, d].
        whiten: [K, d, d], maps a difference to the mean to one of unit variance.
        log_scale: [K], log weight minus log normaliser of each component.
    """

    weights: _Float
    means: _Float
    whiten: _Float
    log_scale: _Float

    def log_likelihood(self, features: _Float) -> Float32:
        """Natural log of the density [...] at features [..., d]."""
        d = self.means.shape[1]
        # Every log density is a quadratic form: one matrix product over (x_i x_j, x_i, 1), centred for precision.
        origin = self.weights @ self.means
        precision = np.einsum("kji,kjl->kil", self.whiten, self.whiten)
        shifted = self.means - origin
        pull = np.einsum("kij,kj->ki", precision, shifted)
        first, second = np.triu_indices(d)
        twice = np.where(first == second, 1.0, 2.0)
        form = np.concatenate(
            [
                -0.5 * precision[:, first, second] * twice,
                pull,
                (self.log_scale - 0.5 * (pull * shifted).sum(1))[:, None],
            ],
            1,
        ).astype(np.float32)
        x = np.ascontiguousarray((features.reshape(-1, d) - origin).T, np.float32)
        basis = np.concatenate([x[first] * x[second], x, np.ones((1, x.shape[1]), np.float32)])
        terms = form @ basis  # [K, n]
        top = terms.max(0)
        return np.asarray(top + np.log(np.exp(terms - top).sum(0)), np.float32).reshape(features.shape[:-1])


def fit_mixture(
    features: _Float,  # [n, d]
    components: int = 5,
    weights: _Float | None = None,  # [n]
    seed: int = 0,
    samples: int = 1500,
    rounds: int = 4,
) -> Mixture | None:
    """A mixture fitted by k-means++ seeds and `rounds` of expectation maximisation; None where there are no samples.

    Args:
        features: samples, Lab units.
        components: at most this many Gaussians; fewer where there are fewer than 10 samples each.
        weights: how much each sample counts; None: all alike.
        seed: of the random choice of `samples` of them and of the starting means; same seed, same mixture.
    """
    if features.ndim != 2:
        raise ShapeError("features", "[n, d]", features.shape)
    rng = np.random.default_rng(seed)
    share = np.ones(len(features)) if weights is None else np.asarray(weights, np.float64)
    if len(features) == 0 or share.sum() <= 0:
        return None
    if len(features) > samples:
        picked = rng.choice(len(features), samples, p=share / share.sum())
        features, share = features[picked], np.ones(samples)
    x = features.astype(np.float64)
    k = int(np.clip(len(x) // 10, 1, components))
    means = _starts(x, share, k, rng)
    responsibility = np.eye(k)[_nearest(x, means)]
    for _ in range(rounds):
        mixture = _maximise(x, responsibility * share[:, None])
        responsibility = _posterior(x, mixture)
    return mixture


def _starts(x: _Float, share: _Float, k: int, rng: np.random.Generator) -> _Float:
    """k-means++ (Arthur, Vassilvitskii, 2007)."""
    means = x[rng.choice(len(x), 1, p=share / share.sum())]
    while len(means) < k:
        distance = ((x[:, None] - means) ** 2).sum(-1).min(1) * share
        if distance.sum() <= 0:
            break
        means = np.concatenate([means, x[rng.choice(len(x), 1, p=distance / distance.sum())]])
    return means


def _nearest(x: _Float, means: _Float) -> npt.NDArray[np.intp]:
    return ((x[:, None] - means) ** 2).sum(-1).argmin(1)


def _maximise(x: _Float, mass: _Float) -> Mixture:
    """The mixture of most likelihood given each sample's mass [n, K] in each component."""
    mass = mass[:, mass.sum(0) > 1e-6]
    total = mass.sum(0)
    means = (mass.T @ x) / total[:, None]
    centred = x[:, None] - means  # [n, K, d]
    covariance = np.einsum("nk,nki,nkj->kij", mass, centred, centred) / total[:, None, None]
    covariance += _SPREAD**2 * np.eye(x.shape[1])
    factor = np.linalg.cholesky(covariance)
    log_determinant = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1)
    weights = total / total.sum()
    log_scale = np.log(weights) - log_determinant - 0.5 * x.shape[1] * np.log(2 * np.pi)
    return Mixture(weights, means, np.linalg.inv(factor), log_scale)


def _posterior(x: _Float, mixture: Mixture) -> _Float:
    z = np.einsum("kij,nkj->nki", mixture.whiten, x[:, None] - mixture.means)
    terms = mixture.log_scale - 0.5 * (z**2).sum(-1)
    terms = np.exp(terms - terms.max(1, keepdims=True))
    return np.asarray(terms / terms.sum(1, keepdims=True))


def log_ratio(
    features: _Float,  # [..., d]
    inside: Mixture | None,
    outside: Mixture | None,
    outlier: float = 1e-2,
    volume: float = 100.0**3,
) -> Float32:
    """log p(feature | inside) - log p(feature | outside), nats [...]; 0 where a model is missing.

    Both densities are mixed with a uniform one of share `outlier` over `volume` (Lab's gamut): a colour that neither
    model knows says nothing, instead of whatever the far tails of two Gaussians say.
    """
    if inside is None or outside is None:
        return np.zeros(features.shape[:-1], np.float32)
    uniform = np.float32(np.log(outlier / volume))
    return np.logaddexp(inside.log_likelihood(features), uniform) - np.logaddexp(
        outside.log_likelihood(features), uniform
    )
