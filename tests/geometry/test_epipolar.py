"""The Sampson distance against a numerical gradient."""

from __future__ import annotations

import numpy as np

from trackime.geometry import sampson_distance


def test_sampson_is_the_distance_to_the_nearest_pair_that_fits() -> None:
    # To first order, so nearly for small distances: moved along its gradient by it, a match fits.
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(3, 3)) @ np.diag([1e-2, 1e-2, 1])
    a, b = rng.uniform(-100, 100, (2, 50, 2))

    def value(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        one = np.ones((len(p), 1))
        return (np.concatenate((q, one), 1) * (np.concatenate((p, one), 1) @ matrix.T)).sum(1)

    step = 1e-5
    gradient = np.stack(
        [(value(a + d[:2], b + d[2:]) - value(a - d[:2], b - d[2:])) / (2 * step) for d in step * np.eye(4)],
        1,
    )
    slow = np.abs(value(a, b)) / np.linalg.norm(gradient, axis=1)
    np.testing.assert_allclose(sampson_distance(matrix, a, b), slow, rtol=1e-6)
