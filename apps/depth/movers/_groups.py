"""Evidence shared among neighbouring points with the same motion."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from trackime.arrays import Float64
from trackime.types import RaggedTracks

NEIGHBOURS = 6
"""Neighbours of each point that share their evidence with it."""
APART = 2
"""Frames over which motion is compared, and between the frames sampled."""
ALIKE_PX, ALIKE_SHARE = 0.4, 0.1
"""Difference in motion (standard deviation) over `APART` frames: pixels, and share of the motion itself."""


def alike(tracks: RaggedTracks, spacing: float) -> sparse.csr_matrix:
    """Weights float64 [N, N] of shared evidence: 1 for two points always adjacent and with the same motion.

    Args:
        tracks: the points.
        spacing: pixels between neighbours, roughly.
    """
    n = len(tracks)
    total = sparse.csr_matrix((n, n))
    rows, columns, values = [], [], []
    looked = np.zeros(n)
    for t in range(0, max(0, tracks.frames - APART), APART):
        points, a, b = tracks.between(t, t + APART)
        looked[points] += 1
        if len(points) < 2:
            continue
        xy = tracks.xy[a].astype(np.float64)
        move = tracks.xy[b] - xy
        near, at = cKDTree(xy).query(xy, k=min(NEIGHBOURS + 1, len(points)))
        off = np.linalg.norm(move[:, None] - move[at], axis=2)
        spread = ALIKE_PX + ALIKE_SHARE * np.linalg.norm(move, axis=1)[:, None]
        weight = np.exp(-0.5 * (near / (1.5 * spacing)) ** 2 - 0.5 * (off / spread) ** 2)
        rows.append(np.repeat(points, at.shape[1]))
        columns.append(points[at.ravel()])
        values.append(weight.ravel())
    if rows:
        total = sparse.csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (n, n))
    total = total.multiply(1 / np.maximum(looked, 1)[:, None]).tocsr()
    total.setdiag(0)
    return total


def share(evidence: Float64, together: sparse.csr_matrix, rounds: int = 2, factor: float = 0.5) -> Float64:
    """Evidence [N, C] with that of each point's neighbours, and theirs, added: `factor` of it each round."""
    shared = evidence
    for _ in range(rounds):
        shared = evidence + factor * (together @ shared)
    return np.asarray(shared)
