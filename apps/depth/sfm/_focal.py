"""A coarse focal length from points alone: the one at which pairs of frames fit essential matrices best.

Pairs of frames have an essential matrix at the true focal length only; at others fewer points fit it, and worse.
Bundle adjustment refines what is found here.
"""

from __future__ import annotations

import numpy as np

from trackime.arrays import Float64, Int64
from trackime.geometry import sampson_distance

from ._keyframes import between
from ._observations import TrackObservations
from ._relative import FEWEST, essential, flat

LOW, HIGH, STEPS = 0.5, 2.5, 12
"""Focal lengths tried, in longer sides of the picture: evenly in the logarithm."""
PAIRS = 6
"""Pairs of frames they are tried on."""
POINTS = 600
"""Points of a pair at most."""
PIXELS = 1.0
"""Distance from an epipolar line that counts as a miss."""
FLAT = 0.95
"""Share of points on one homography from which a pair is degenerate."""
USUAL, SPREAD = 0.95, 0.5
"""Focal length of lenses in longer sides (55 degrees), and how far the logarithms of others are from it."""
INDEPENDENT = 40.0
"""Points as which those of all pairs count: their errors are not independent."""


def candidates(size: int) -> Float64:
    """float64 [12]: the focal lengths in pixels that are tried for a picture whose longer side is `size`."""
    return size * np.geomspace(LOW, HIGH, STEPS)


def wide_pairs(observed: TrackObservations, keys: Int64, focal: Float64, number: int) -> list[tuple[int, int]]:
    """Pairs of keyframes with large parallax and many points, spread over the video, the best first."""
    rated = []
    for gap in (1, 2, 3, 5, 8, 13):
        for at in range(0, len(keys) - gap, max(1, (len(keys) - gap) // 12)):
            i, j = int(keys[at]), int(keys[at + gap])
            shared = len(observed.between(i, j)[0])
            if shared >= 4 * FEWEST:
                fair = min(1.0, shared / (0.3 * len(observed.at(i))))
                rated.append((between(observed, i, j, focal) * fair, i, j))
    rated.sort(key=lambda r: (-r[0], r[1], r[2]))
    out: list[tuple[int, int]] = []
    used: dict[int, int] = {}
    for _, i, j in rated:
        if used.get(i, 0) < 2 and used.get(j, 0) < 2:
            out.append((i, j))
            used[i], used[j] = used.get(i, 0) + 1, used.get(j, 0) + 1
        if len(out) == number:
            break
    return out


def sweep(observed: TrackObservations, pairs: list[tuple[int, int]], tried: Float64) -> Float64 | None:
    """The cost of each focal length [S], a mean over points of all pairs between 0 (all fit) and 1 (none does).

    None where every pair is of a plane, which fits any focal length.
    """
    costs = []
    for i, j in pairs:
        a, b = (observed.xy[rows] for rows in observed.between(i, j))
        if len(a) > POINTS:
            chosen = np.linspace(0, len(a) - 1, POINTS).astype(np.int64)
            a, b = a[chosen], b[chosen]
        if len(a) < FEWEST or flat(a, b, PIXELS) >= FLAT:
            continue
        costs.append([_cost(a, b, float(f)) for f in tried])
    return np.mean(costs, 0) if costs else None


def _cost(a: Float64, b: Float64, focal: float) -> float:
    found = essential(a, b, focal, PIXELS)
    if found is None:
        return 1.0
    pixels = focal * sampson_distance(found[0], a / focal, b / focal)
    return float(np.minimum((pixels / PIXELS) ** 2, 1.0).mean())


def likely(tried: Float64, costs: Float64, size: int) -> float:
    """The most likely focal length in pixels, given the costs [S] and a prior of usual lenses.

    Where all fit equally (a camera that moves forward, for example) it is the usual one.
    """
    score = INDEPENDENT * costs / max(float(costs.min()), 1e-3)
    score = score + 0.5 * (np.log(tried / (USUAL * size)) / SPREAD) ** 2
    k = int(np.argmin(score))
    if k in (0, len(score) - 1):
        return float(tried[k])
    left, middle, right = score[k - 1 : k + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend > 1e-12 else 0.0
    return float(np.exp(np.interp(k + np.clip(shift, -0.5, 0.5), np.arange(len(tried)), np.log(tried))))
