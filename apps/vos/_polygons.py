"""Outlines of masks along the edges of pixels, and one polygon for an object of several parts and holes.

cv2.findContours runs through pixel centres and skimage.measure.find_contours halfway between them: neither covers the
mask exactly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from trackime.arrays import BoolArray, Int64
from trackime.errors import ShapeError

_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
"""Right, down, left, up: the directions of an edge, each a right turn from the one before."""


def outlines(mask: npt.ArrayLike) -> list[Int64]:
    """Closed outlines of a mask along the edges of its pixels, exactly: corners int64 [K, 2] (x, y) in 0 .. W, 0 .. H.

    The object lies to the right, so outer outlines run clockwise on the screen and holes counterclockwise.
    Pixels that touch at a corner alone are two parts. The longest outer outline comes first.

    Args:
        mask: bool [H, W].

    Raises:
        ShapeError: not [H, W].
    """
    array = np.asarray(mask)
    if array.ndim != 2:
        raise ShapeError("mask", "[H, W]", array.shape)
    rows, columns = np.flatnonzero(array.any(1)), np.flatnonzero(array.any(0))
    if not len(rows):
        return []
    corner = np.array([columns[0], rows[0]])
    inside = np.pad(np.asarray(array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], bool), 1)
    loops = [loop + corner for loop in _loops(inside)]
    return sorted(loops, key=lambda loop: -abs(area(loop)))


def _loops(inside: BoolArray) -> list[Int64]:
    """Outlines of a mask [h + 2, w + 2] whose border is background; corners relative to pixel [1, 1]."""
    height, width = (side - 1 for side in inside.shape)  # of the grid of corners
    leaves = np.zeros((4, height, width), bool)  # whether an edge leaves a corner in a direction
    above, below = inside[:-1, 1:-1], inside[1:, 1:-1]  # of the edge from corner x to x + 1
    leaves[0][:, :-1], leaves[2][:, 1:] = below & ~above, above & ~below
    left, right = inside[1:-1, :-1], inside[1:-1, 1:]  # of the edge from corner y to y + 1
    leaves[1][:-1], leaves[3][1:] = left & ~right, right & ~left
    heading, y, x = np.nonzero(leaves)
    end = np.stack([x, y], 1) + _STEPS[heading]
    number = np.full(leaves.shape, -1)
    number[heading, y, x] = np.arange(len(heading))
    follow = np.full(len(heading), -1)
    for turn in (-1, 0, 1):  # where two edges leave a corner, the turn to the right, which stays at its own pixel
        found = number[(heading + turn) % 4, end[:, 1], end[:, 0]]
        follow = np.where(found >= 0, found, follow)
    bends = (heading[follow] != heading).tolist()
    after, corners = follow.tolist(), end
    loops, seen = [], np.zeros(len(heading), bool).tolist()
    for start in range(len(after)):
        edge, ends = start, []
        while not seen[edge]:
            seen[edge] = True
            if bends[edge]:
                ends.append(edge)
            edge = after[edge]
        if ends:
            loops.append(corners[ends])
    return loops


def area(loop: Int64) -> float:
    """Area in pixels that a closed outline [K, 2] encloses, below 0 for a hole."""
    x, y = loop.T
    return 0.5 * float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def joined(loops: list[Int64]) -> Int64:
    """One closed polygon [K, 2] of several outlines, connected by bridges of no width.

    By the even-odd rule, and by winding numbers, the polygon covers what its outlines do; a bridge goes where two of
    them come nearest. The outline that a polygon begins with is the first one.
    """
    if len(loops) < 2:
        return loops[0] if loops else np.zeros((0, 2), np.int64)
    points = np.concatenate(loops)
    starts = np.cumsum([0, *(len(loop) for loop in loops)])
    owner = np.repeat(np.arange(len(loops)), [len(loop) for loop in loops])
    order = list(range(starts[1]))  # indices of points, along the polygon
    distance, nearest = np.full(len(points), np.inf), np.zeros(len(points), np.int64)
    waiting, added = owner > 0, np.arange(starts[1])
    while waiting.any():
        near, which = KDTree(points[added]).query(points[waiting])
        closer = near < distance[waiting]
        distance[waiting] = np.where(closer, near, distance[waiting])
        nearest[waiting] = np.where(closer, added[which], nearest[waiting])
        here = int(np.flatnonzero(waiting)[distance[waiting].argmin()])
        k, there = owner[here], int(nearest[here])
        added = np.arange(starts[k], starts[k + 1])
        waiting &= owner != k
        around = np.roll(added, starts[k] - here).tolist()
        at = order.index(there) + 1
        order[at:at] = [*around, here, there]
    return np.asarray(points[order])
