"""Confidence intervals of mean differences, by resampling.

scipy.stats.bootstrap resamples neither blocks nor in two steps, so this is written here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trackime.arrays import FloatArray
from trackime.errors import InputError

DRAWS = 2000
BLOCK = 8
"""Frames drawn together: neighbours in a clip are correlated, and single draws would make intervals too short."""
LEVEL = 0.95


def paired(
    differences: Sequence[FloatArray], seed: int = 0, draws: int = DRAWS, block: int = BLOCK
) -> tuple[float, float, float]:
    """The mean difference of two methods and its interval, by a two-step bootstrap.

    Each draw takes as many cases as there are, with replacement, and in each of them as many frames, in runs of
    `block` that wrap around (the circular block bootstrap, Politis and Romano 1992). Cases have equal
    weight, whatever their length. With one case only its frames vary: the interval is about that clip only.

    Args:
        differences: for each case the differences [n] of its frames, in order of time.
        seed: of the random numbers.
        draws: how many.
        block: frames that are drawn together; no more than a quarter of the case's.

    Returns:
        The mean over cases of each case's mean; the ends of the interval that holds 95 % of the draws.

    Raises:
        InputError: no case, or one without frames.
    """
    if not differences or not all(len(d) for d in differences):
        raise InputError("bootstrap: expected at least one case, and frames in each, got none")
    rng = np.random.default_rng([seed, len(differences)])
    cases = len(differences)
    within = np.stack([_means(np.asarray(d, np.float64), rng, draws, block) for d in differences])  # [cases, draws]
    picked = rng.integers(cases, size=(draws, cases)) if cases > 1 else np.zeros((draws, 1), np.int64)
    # A case that is drawn twice has other frames each time: another column of its means.
    means = within[picked, rng.integers(draws, size=picked.shape) if cases > 1 else np.arange(draws)[:, None]].mean(1)
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(np.mean([np.mean(d) for d in differences])), float(low), float(high)


def _means(values: FloatArray, rng: np.random.Generator, draws: int, block: int) -> FloatArray:
    """Means [draws] of n values drawn in runs."""
    n = len(values)
    if n == 1:
        return np.full(draws, values[0])
    length = max(1, min(block, n // 4))
    runs = -(-n // length)
    begins = rng.integers(n, size=(draws, runs, 1))
    index = ((begins + np.arange(length)) % n).reshape(draws, -1)[:, :n]
    means: FloatArray = values[index].mean(1)
    return means
