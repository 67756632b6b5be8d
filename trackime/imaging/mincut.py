"""Minimum s-t cuts of pixel grids, on `scipy.sparse.csgraph.maximum_flow`.

A labelling x in {0, 1}^(H x W) has the energy

    E(x) = - sum_p logit_p x_p  +  sum_{pq} w_pq |x_p - x_q|

with unary terms `logit_p`, the evidence for label 1 in nats, and pairwise terms `w_pq >= 0` of neighbours p and q
(Boykov, Jolly, ICCV 2001, eq. 1-3). The pairs of the 8-neighbourhood are in four arrays, one for each direction.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from trackime.arrays import BoolArray, Float32, FloatArray, Int32, Int64
from trackime.errors import InputError, ShapeError

_DIRECTIONS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""(dy, dx) from a pixel to the neighbour whose edge `edges[k]` holds: right, down left, down, down right."""

_UNIT = 64
"""Integer units of capacity in one nat. Rounding errs by less than 1 % of a nat per edge."""

_LIMIT = 50.0
"""Evidence in nats is clipped here, so that sums stay in 32 bits."""


def contrast_edges(
    image: FloatArray,  # [H, W, C] any units
    strength: float,
    floor: float = 0.05,
) -> Float32:
    """Pairwise terms, low where neighbouring pixels differ.

    w_pq = strength (floor + (1 - floor) exp(-|c_p - c_q|^2 / (2 <|c_p - c_q|^2>))) / |p - q|, the mean over
    the whole image (Rother, Kolmogorov, Blake, SIGGRAPH 2004, eq. 4-5, plus a floor that keeps borders short).

    Args:
        image: the colours, Lab preferably.
        strength: nats between equal pixels.
        floor: share of `strength` that remains at any contrast.

    Returns:
        float32 [4, H, W]: to the neighbours to the right, below left, below, below right; 0 where there is none.

    Raises:
        ShapeError: not [H, W, C].
    """
    if image.ndim != 3:
        raise ShapeError("image", "[H, W, C]", image.shape)
    h, w = image.shape[:2]
    differences = []
    for dy, dx in _DIRECTIONS:
        here, there = _pair(h, w, dy, dx)
        differences.append(((image[here] - image[there]) ** 2).sum(-1, dtype=np.float32))
    total = sum(float(d.sum()) for d in differences)
    mean = max(total / max(1, sum(d.size for d in differences)), 1e-6)
    edges = np.zeros((4, h, w), np.float32)
    for k, (dy, dx) in enumerate(_DIRECTIONS):
        here, _ = _pair(h, w, dy, dx)
        soft = floor + (1 - floor) * np.exp(-differences[k] / (2 * mean))
        edges[k][here] = strength * soft / np.hypot(dy, dx)
    return edges


def _pair(h: int, w: int, dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the pixels that have a neighbour at (dy, dx), and of those neighbours; dy >= 0."""
    x0, x1 = max(0, -dx), w - max(0, dx)
    x1 = max(x0, x1)
    rows, below = slice(0, max(0, h - dy)), slice(min(dy, h), h)
    return (rows, slice(x0, x1)), (below, slice(x0 + dx, x1 + dx))


def min_cut(
    logits: FloatArray, edges: FloatArray, free: BoolArray | None = None, fixed: BoolArray | None = None
) -> BoolArray:
    """The labelling of minimum energy.

    Args:
        logits: [H, W] evidence for label 1, in nats.
        edges: [4, H, W] from `contrast_edges`.
        free: bool [H, W], the pixels to label; None: all. Fewer are faster.
        fixed: bool [H, W], the labels of the others; required with `free`.

    Returns:
        bool [H, W].

    Raises:
        ShapeError: arrays of different sizes.
        InputError: `free` without `fixed`, or numbers that are not finite.
    """
    h, w = logits.shape
    if edges.shape != (4, h, w):
        raise ShapeError("edges", f"[4, {h}, {w}]", edges.shape)
    if not (np.isfinite(logits).all() and np.isfinite(edges).all()):
        raise InputError("min_cut: expected finite logits and edges, got NaN or infinity")
    if free is None:
        free, fixed = np.ones((h, w), bool), np.zeros((h, w), bool)
    if fixed is None:
        raise InputError("min_cut: expected `fixed` labels beside `free`, got none")
    if free.shape != (h, w) or fixed.shape != (h, w):
        raise ShapeError("free, fixed", f"[{h}, {w}]", free.shape)
    labels = fixed.copy()
    count = int(free.sum())
    if count:
        labels[free] = _solve(count, *_graph(logits, edges, free, fixed))
    return labels


def _graph(logits: FloatArray, edges: FloatArray, free: BoolArray, fixed: BoolArray) -> tuple[Int32, Int32, Int64]:
    """Columns [n, 8] (-1: none), capacities [n, 8] and terminal evidence [n] of the free pixels, raster order."""
    h, w = logits.shape
    number = np.full((h + 2, w + 2), -1, np.int32)
    number[1:-1, 1:-1][free] = np.arange(int(free.sum()), dtype=np.int32)
    priced = np.zeros((4, h + 2, w + 2), np.int32)
    priced[:, 1:-1, 1:-1] = np.rint(np.minimum(edges, _LIMIT) * _UNIT)
    label = np.zeros((h + 2, w + 2), bool)
    label[1:-1, 1:-1] = fixed
    y, x = np.nonzero(free)
    y, x = y + 1, x + 1
    terminal = np.rint(np.clip(logits[free], -_LIMIT, _LIMIT) * _UNIT).astype(np.int64)
    columns = np.empty((len(y), 8), np.int32)
    capacity = np.empty((len(y), 8), np.int32)
    # Neighbours in raster order, so that the rows of the matrix come out sorted.
    order = [(-dy, -dx, k, True) for k, (dy, dx) in reversed(list(enumerate(_DIRECTIONS)))]
    order += [(dy, dx, k, False) for k, (dy, dx) in enumerate(_DIRECTIONS)]
    for j, (dy, dx, k, back) in enumerate(order):
        to_y, to_x = y + dy, x + dx
        columns[:, j] = number[to_y, to_x]
        capacity[:, j] = priced[k, to_y, to_x] if back else priced[k, y, x]
        # A neighbour with a fixed label adds to the unary term.
        unary = np.where(label[to_y, to_x], capacity[:, j], -capacity[:, j])
        terminal += np.where(columns[:, j] < 0, unary, 0)
    return columns, capacity, terminal


def _solve(n: int, columns: Int32, capacity: Int32, terminal: Int64) -> BoolArray:
    """Labels [n] of the cut between source (node n, label 1) and sink (node n + 1)."""
    rows = np.concatenate([columns, np.full((n, 1), n, np.int32), np.full((n, 1), n + 1, np.int32)], 1)
    flow_out = np.concatenate([capacity, np.zeros((n, 1), np.int32), np.maximum(-terminal, 0)[:, None]], 1)
    # The structure is symmetric, reverse arcs of capacity 0 included, or scipy would rebuild the matrix.
    keep = rows >= 0
    every = np.arange(n, dtype=np.int32)
    indices = np.concatenate([rows[keep], every, every])
    data = np.concatenate([flow_out[keep], np.maximum(terminal, 0), np.zeros(n)]).astype(np.int32)
    degree = np.concatenate([[0], keep.sum(1), [n, n]])
    graph = csr_matrix((data, indices, np.cumsum(degree).astype(np.int32)), shape=(n + 2, n + 2))
    flow = maximum_flow(graph, n, n + 1).flow
    residual = csr_matrix((graph.data - flow.data, graph.indices, graph.indptr), shape=graph.shape)
    residual.eliminate_zeros()
    reached = breadth_first_order(residual, n, return_predecessors=False)
    labels = np.zeros(n + 2, bool)
    labels[reached] = True
    return labels[:n]
