"""Gaussian mixture models of colours in CIE Lab, small enough to be fitted again for every mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackime.arrays import Float32, Float64, FloatArray
from trackime.errors import ShapeError

_SPREAD = 1.5
"""Standard deviation in Lab units added to every component: camera noise, and colours between samples."""


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture of K components over d features, with full covariances.

    Attributes:
        weights: [K], sum 1.
        means: [K, d].
        whiten: [K, d, d], inverse of the covariance's Cholesky factor.
        log_scale: [K], log weight minus log normaliser of each component.
    """

    weights: Float64
    means: Float64
    whiten: Float64
    log_scale: Float64

    def log_likelihood(self, features: FloatArray) -> Float32:
        """Natural log of the density, float32 [...], at features [..., d]."""
        d = self.means.shape[1]
        # Every log density is a quadratic form: one matrix product over (x_i x_j, x_i, 1), centred for precision.
        origin = self.weights @ self.means
        precision = np.einsum("kji,kjl->kil", self.whiten, self.whiten)
        shifted = self.means - origin
        linear = np.einsum("kij,kj->ki", precision, shifted)
        first, second = np.triu_indices(d)
        twice = np.where(first == second, 1.0, 2.0)
        form = np.concatenate(
            [
                -0.5 * precision[:, first, second] * twice,
                linear,
                (self.log_scale - 0.5 * (linear * shifted).sum(1))[:, None],
            ],
            1,
        ).astype(np.float32)
        x = np.ascontiguousarray((features.reshape(-1, d) - origin).T, np.float32)
        basis = np.concatenate([x[first] * x[second], x, np.ones((1, x.shape[1]), np.float32)])
        terms = form @ basis  # [K, n]
        top = terms.max(0)
        return np.asarray(top + np.log(np.exp(terms - top).sum(0)), np.float32).reshape(features.shape[:-1])


_SAMPLES = 1500
"""A mixture is fitted to at most this many samples, drawn by their weights."""


def fit_mixture(
    features: FloatArray,  # [n, d]
    components: int = 5,
    weights: FloatArray | None = None,  # [n]
    seed: int = 0,
) -> Mixture | None:
    """A mixture fitted by k-means++ seeds and expectation maximisation; None where there are no samples.

    Args:
        features: samples, Lab units.
        components: at most this many Gaussians; fewer where there are fewer than 10 samples each.
        weights: of the samples, 0 or more; None: all equal.
        seed: of the random choice of samples and of the starting means; the same seed gives the same mixture.

    Raises:
        ShapeError: not [n, d].
    """
    if features.ndim != 2:
        raise ShapeError("features", "[n, d]", features.shape)
    rng = np.random.default_rng(seed)
    share = np.ones(len(features)) if weights is None else np.asarray(weights, np.float64)
    if len(features) == 0 or share.sum() <= 0:
        return None
    if len(features) > _SAMPLES:
        picked = rng.choice(len(features), _SAMPLES, p=share / share.sum())
        features, share = features[picked], np.ones(_SAMPLES)
    x = features.astype(np.float64)
    k = int(np.clip(len(x) // 10, 1, components))
    means = _starts(x, share, k, rng)
    responsibility = np.eye(k)[((x[:, None] - means) ** 2).sum(-1).argmin(1)]
    for _ in range(4):
        mixture = _maximise(x, responsibility * share[:, None])
        responsibility = _posterior(x, mixture)
    return mixture


def _starts(x: Float64, share: Float64, k: int, rng: np.random.Generator) -> Float64:
    """k-means++ (Arthur, Vassilvitskii, SODA 2007) of weighted samples, which scipy's kmeans2 does not take."""
    means = x[rng.choice(len(x), 1, p=share / share.sum())]
    while len(means) < k:
        distance = ((x[:, None] - means) ** 2).sum(-1).min(1) * share
        if distance.sum() <= 0:
            break
        means = np.concatenate([means, x[rng.choice(len(x), 1, p=distance / distance.sum())]])
    return means


def _maximise(x: Float64, mass: Float64) -> Mixture:
    """Maximisation step: the mixture for each sample's mass [n, K] in each component."""
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


def _posterior(x: Float64, mixture: Mixture) -> Float64:
    """Expectation step: responsibilities [n, K]."""
    z = np.einsum("kij,nkj->nki", mixture.whiten, x[:, None] - mixture.means)
    terms = mixture.log_scale - 0.5 * (z**2).sum(-1)
    terms = np.exp(terms - terms.max(1, keepdims=True))
    return np.asarray(terms / terms.sum(1, keepdims=True))


def log_ratio(
    features: FloatArray,  # [..., d]
    inside: Mixture | None,
    outside: Mixture | None,
    outlier: float = 1e-2,
    volume: float = 100.0**3,
) -> Float32:
    """Log likelihood ratio log p(feature | inside) - log p(feature | outside), nats [...]; 0 where a model is missing.

    Both densities are mixed with a uniform one of share `outlier` over `volume` (Lab's gamut), so that a colour far
    from all Gaussians of both models has a ratio near 0.
    """
    if inside is None or outside is None:
        return np.zeros(features.shape[:-1], np.float32)
    uniform = np.float32(np.log(outlier / volume))
    return np.logaddexp(inside.log_likelihood(features), uniform) - np.logaddexp(
        outside.log_likelihood(features), uniform
    )
