"""Slow, plain versions of what dense depth does fast: one pixel, one plane, one path at a time."""

from __future__ import annotations

import numpy as np

from trackime_apps.depth.stereo import _plane_sweep as swept
from trackime_apps.depth.stereo import _sgm as fast
from trackime_apps.depth.stereo._views import PosedMap


def bilinear(image: np.ndarray, x: float, y: float) -> float:
    """At a pixel whose top-left neighbour's centre is (0.5, 0.5); beyond the border its pixels are repeated."""
    h, w = image.shape
    x, y = np.clip(x - 0.5, 0, w - 1), np.clip(y - 0.5, 0, h - 1)
    x0, y0 = min(int(x), max(w - 2, 0)), min(int(y), max(h - 2, 0))
    x1, y1 = min(x0 + 1, w - 1), min(y0 + 1, h - 1)
    a, b = x - x0, y - y0
    top = image[y0, x0] * (1 - a) + image[y0, x1] * a
    return float(top * (1 - b) + (image[y1, x0] * (1 - a) + image[y1, x1] * a) * b)


def carry(pixel: np.ndarray, inverse: float, one: tuple, other: tuple) -> tuple[np.ndarray, float]:
    """Where a pixel of a view (intrinsics, pose) at an inverse depth is seen in another, and its depth there."""
    (k_one, pose_one), (k_other, pose_other) = one, other
    local = np.linalg.inv(k_one) @ np.array([*pixel, 1.0]) / inverse
    world = pose_one[:3, :3] @ local + pose_one[:3, 3]
    there = pose_other[:3, :3].T @ (world - pose_other[:3, 3])
    seen = k_other @ there
    return seen[:2] / seen[2], there[2]


def sweep(reference: PosedMap, sources: list[PosedMap], inverse: np.ndarray) -> np.ndarray:
    """As `trackime_apps.depth.stereo._plane_sweep.plane_sweep`, in float64; inverse [D]."""

    def numbers(view: PosedMap) -> tuple:
        return view.values.numpy().astype(float), (view.intrinsics.numpy(), view.pose.numpy())

    grey, camera = numbers(reference)
    h, w = grey.shape
    out = np.zeros((len(inverse), h, w))
    keep = (len(sources) + 1) // 2
    for d, q in enumerate(inverse):
        costs = []
        for source in sources:
            image, there = numbers(source)
            warped, inside = np.zeros((h, w)), np.zeros((h, w), bool)
            for y in range(h):
                for x in range(w):
                    (u, v), z = carry(np.array([x + 0.5, y + 0.5]), q, camera, there)
                    inside[y, x] = z > 0 and 0 <= u <= image.shape[1] and 0 <= v <= image.shape[0]
                    warped[y, x] = bilinear(image, u, v)
            costs.append(np.where(inside, uncorrelated(grey, warped), swept.UNSEEN))
        out[d] = np.sort(costs, axis=0)[:keep].mean(0)
    return out


def uncorrelated(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 - normalised cross correlation of the windows about each pixel; no texture in `one`: neither this nor that."""
    r = swept.RADIUS
    a, b = (np.pad(x, r, mode="edge") for x in (one, other))
    out = np.zeros(one.shape)
    for y in range(one.shape[0]):
        for x in range(one.shape[1]):
            p, q = (m[y : y + 2 * r + 1, x : x + 2 * r + 1] for m in (a, b))
            together = ((p - p.mean()) * (q - q.mean())).mean()
            cost = 1 - together / np.sqrt((p.var() + swept.NOISE) * (q.var() + swept.NOISE))
            texture = p.var() / (p.var() + swept.NOISE)
            out[y, x] = texture * np.clip(cost, 0, 1) + (1 - texture) * swept.UNSEEN
    return out


def aggregate(cost: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """As `trackime_apps.depth.stereo._sgm.aggregate`: every path by itself."""
    planes, h, w = cost.shape
    total = np.zeros(cost.shape)
    for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        path = np.zeros(cost.shape)
        for y in range(h)[:: -1 if dy < 0 else 1]:
            for x in range(w)[:: -1 if dx < 0 else 1]:
                v, u = y - dy, x - dx
                if not (0 <= v < h and 0 <= u < w):
                    path[:, y, x] = cost[:, y, x]
                    continue
                before = path[:, v, u]
                jump = max(fast.JUMP * np.exp(-abs(grey[y, x] - grey[v, u]) / fast.EDGE), fast.LEAST)
                for d in range(planes):
                    near = [before[e] + fast.STEP for e in (d - 1, d + 1) if 0 <= e < planes]
                    best = min([before[d], before.min() + jump, *near])
                    path[d, y, x] = cost[d, y, x] + best - before.min()
        total += path
    return total
