"""Scenes with known cameras and depth for the solver of consistent depth: points on a smooth surface, seen from a path.

The initial depth is the true one times a scale per frame and a smooth deformation; with disparity, one shift is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.spatial.transform import Rotation

from trackime.metrics import absolute_error
from trackime_apps.depth.solver import Matches, Problem


@dataclass(frozen=True, eq=False)
class Scene:
    """A problem and its true solution.

    Attributes:
        problem: the solver's input.
        poses: float64 [F, 4, 4], true, camera-to-world; the first is the identity.
        focal: true, pixels.
        xy: float64 [F, N, 2] pixels, where the points are.
        depth: float64 [F, N], their true depth.
        initial: float64 [F, N], their initial depth.
        seen: bool [F, N], inside the frame.
    """

    problem: Problem
    poses: torch.Tensor
    focal: float
    xy: torch.Tensor
    depth: torch.Tensor
    initial: torch.Tensor
    seen: torch.Tensor


def hierarchical(frames: int) -> list[tuple[int, int]]:
    """Pairs at distance 2^l from every 2^max(0, l - 1)-th frame, both ways (R-CVD, section 4)."""
    pairs, level = [], 0
    while 2**level < frames:
        pairs += [(i, i + 2**level) for i in range(0, frames - 2**level, 2 ** max(0, level - 1))]
        level += 1
    return sorted(pairs + [(j, i) for i, j in pairs])


def make_scene(
    frames: int = 12, points: int = 3000, *, width: int = 640, height: int = 360, seed: int = 0, focal: float = 500.0,
    guess: float = 1.1, scale: float = 0.3, deform: float = 0.2, shift: float = 0.0, noise: float = 0.0,
    outliers: float = 0.0, travel: float = 1.0, turn: float = 1.0, pairs: list[tuple[int, int]] | None = None,
    most: int = 10**9,
) -> Scene:  # fmt: skip
    """A scene of `frames` cameras.

    Args:
        frames: F.
        points: N of the surface, most of them in view.
        width, height: pixels.
        seed: of everything.
        focal, guess: the true focal length, pixels; the problem starts at `guess` times it.
        scale: standard deviation of the logarithm of a frame's scale.
        deform: largest smooth change of depth, a share.
        shift: taken off the disparity, a share of its smallest value; 0: the backend gives depth.
        noise: pixels, standard deviation of the positions.
        outliers: share of matches whose second position is random.
        travel, turn: factors on how far the camera moves and turns; 0: it does not.
        pairs: of frames; None: `hierarchical`.
        most: matches of a pair.
    """
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    t = torch.arange(frames, dtype=torch.float64)
    centers = torch.stack((4 * (0.015 * t).sin(), 0.25 * (t / 9).sin(), 0.3 * (1 - (t / 14).cos())), 1)
    turns = torch.stack((0.05 * (t / 8).sin(), 0.08 * (t / 11).sin(), 0.04 * (t / 6).sin()), 1)
    centers, turns = travel * centers, turn * turns
    rotations = torch.from_numpy(Rotation.from_rotvec(turns.numpy()).as_matrix())
    # A height field that the path flies along: wide enough for what the frames see.
    half = 6.5 * width / 2 / focal
    left, right = float(centers[:, 0].min()) - half, float(centers[:, 0].max()) + half
    x = left + (right - left) * uniform(points)
    y = 6.5 * height / focal * (uniform(points) - 0.5)
    bumps = (1.3 * x).sin() * 0.8 + (1.7 * y + 0.6 * x).sin() * 0.7 + 0.5 * (0.4 * x).cos()
    world = torch.stack((x, y, 5 + bumps), 1)
    camera = (world[None] - centers[:, None]) @ rotations
    depth = camera[..., 2]
    xy = camera[..., :2] / depth[..., None] * focal + torch.tensor([width / 2, height / 2], dtype=torch.float64)
    inside = (xy > 0).all(-1) & (xy[..., 0] < width) & (xy[..., 1] < height)
    seen = inside & (depth > 0.1)
    phase, tilt = 2 * math.pi * uniform(frames, 2), 1 + uniform(frames, 2)
    waves = [(tilt[:, k, None] * 2.5 * xy[..., k] / (width, height)[k] + phase[:, k, None]).sin() for k in range(2)]
    initial = depth * (scale * normal(frames, 1)).exp() * (1 + deform * 0.5 * (waves[0] + waves[1]))
    if shift:
        disparity = initial.reciprocal()
        initial = (disparity - shift * disparity[seen].min()).reciprocal()
    measured = xy + noise * normal(*xy.shape)
    if pairs is None:
        pairs = hierarchical(frames)
    rows = []
    for i, j in pairs:
        both = (seen[i] & seen[j]).nonzero()[:, 0]
        rows.append(torch.stack((torch.full_like(both, i), torch.full_like(both, j), both))[:, :most])
    i, j, k = torch.cat(rows, 1)
    x_j, count = measured[j, k], len(i)
    if outliers:
        wrong = uniform(count) < outliers
        anywhere = uniform(count, 2) * torch.tensor([width, height], dtype=torch.float64)
        x_j = torch.where(wrong[:, None], anywhere, x_j)
    one = torch.ones(count, dtype=torch.float64)
    matches = Matches(i, j, measured[i, k], x_j, initial[i, k], initial[j, k], one, one)
    poses = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    poses[:, :3, :3], poses[:, :3, 3] = rotations, centers
    poses = torch.linalg.inv(poses[0]) @ poses
    problem = Problem(frames, width, height, matches, guess * focal, disparity=shift != 0)
    return Scene(problem, poses, focal, xy, depth, initial, seen)


def position_error(poses: torch.Tensor, truth: torch.Tensor) -> float:
    """Root-mean-square error of positions after the best similarity, as a share of the path's length."""
    return absolute_error(poses.numpy(), truth.numpy()).share


def delta1(depth: torch.Tensor, truth: torch.Tensor) -> float:
    """Share of depths within 1.25 times the truth, after one median scale."""
    ratio = depth * (truth / depth).median() / truth
    return float((torch.maximum(ratio, ratio.reciprocal()) < 1.25).double().mean())
