"""Exact tracks of points on bodies, ground and wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from trackime.worlds.bodies._film import Film, Shot
from trackime.worlds.bodies._skin import Skin

_ON_BODIES = 0.75
"""Share of the points on bodies, where there are any."""
_EDGES = 0.4
"""Share of those near an edge of the body."""
_TOLERANCE = 0.012
"""Lengths by which something must be nearer to hide a point: more than a marched ray's error, less than a limb."""
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Chosen:
    """Points to follow, each found at a pixel centre.

    Attributes:
        frame: int64 [N], where it was found.
        body: int64 [N], as `Film.owner`.
        point: float32 [N, 3] in the world then.
        xy: float32 [N, 2] pixels.
    """

    frame: Tensor
    body: Tensor
    point: Tensor
    xy: Tensor


def choose(rng: Generator, filmed: Film, count: int) -> Chosen:
    """Random visible points, most of them on bodies."""
    owner = filmed.owner.numpy()
    t, h, w = owner.shape
    masks = filmed.masks.numpy()
    border = np.zeros(owner.shape, bool)
    border[:, 1:-1, 1:-1] = (
        (masks[:, 1:-1, 2:] != masks[:, 1:-1, :-2]) | (masks[:, 2:, 1:-1] != masks[:, :-2, 1:-1])
    )  # fmt: skip
    near = border.copy()
    near[:, 2:-2, 2:-2] |= border[:, :-4, 2:-2] | border[:, 4:, 2:-2] | border[:, 2:-2, :-4] | border[:, 2:-2, 4:]
    kinds = [masks > 0, (masks > 0) & near, masks == 0]
    shares = np.array([_ON_BODIES * (1 - _EDGES), _ON_BODIES * _EDGES, 1 - _ON_BODIES])
    places = [np.flatnonzero(kind) for kind in kinds]
    shares = np.where([len(place) > 0 for place in places], shares, 0)
    kind = rng.choice(3, count, p=shares / shares.sum())
    flat = np.array([places[k][rng.integers(len(places[k]))] for k in kind])
    frame, y, x = np.unravel_index(flat, (t, h, w))
    return Chosen(
        torch.from_numpy(frame), torch.from_numpy(owner[frame, y, x].astype(np.int64)),
        filmed.point[frame, y, x], torch.from_numpy(np.stack([x + 0.5, y + 0.5], 1).astype(np.float32)),
    )  # fmt: skip


def follow(shot: Shot, filmed: Film, chosen: Chosen) -> tuple[Tensor, Tensor]:
    """Positions float64 [N, T, 2] pixels and visible bool [N, T] of chosen points."""
    count, frames = len(chosen.frame), shot.frames
    xy = chosen.xy.double()[:, None].repeat(1, frames, 1)
    points = torch.zeros(count, frames, 3, dtype=torch.float64)
    depth, times = torch.zeros(count, frames, dtype=torch.float64), np.zeros((count, frames))
    for _ in range(_ROUNDS if shot.readout > 0 else 1):
        # The time at which a row is read depends on the point's position at that time.
        rows = xy[..., 1].numpy().clip(-shot.camera.height, 2 * shot.camera.height)
        times = np.arange(frames) + shot.moment(rows)
        points = _at(shot, chosen, times)
        rotation, eye = _cameras(shot, times)
        pixels, z = shot.camera.project(points.reshape(-1, 3), rotation, eye)
        xy, depth = pixels.reshape(count, frames, 2), z.reshape(count, frames)
    visible = _visible(shot, chosen, points, times)
    w, h = shot.camera.width, shot.camera.height
    inside = (xy >= 0).all(-1) & (xy[..., 0] <= w) & (xy[..., 1] <= h) & (depth > 0.02)
    visible &= inside
    visible[torch.arange(count), chosen.frame] = True
    return xy, visible


def _cameras(shot: Shot, times: np.ndarray) -> tuple[Tensor, Tensor]:
    rotation, eye = shot.camera.pose(times.reshape(-1))
    return torch.from_numpy(rotation), torch.from_numpy(eye)


def _at(shot: Shot, chosen: Chosen, times: np.ndarray) -> Tensor:
    """World points float64 [N, T, 3] at times [N, T]; those of the scenery rest."""
    frames = times.shape[1]
    points = chosen.point.double()[:, None].repeat(1, frames, 1)
    found = chosen.frame.numpy() + shot.moment(chosen.xy[:, 1].numpy())
    _, eye = _cameras(shot, found)
    for number, (gait, _) in enumerate(shot.bodies, 1):
        rows = torch.nonzero(chosen.body == number)[:, 0]
        if len(rows) == 0:
            continue
        there = Skin.of(gait, found[rows.numpy()])
        ray = torch.nn.functional.normalize(chosen.point[rows].double() - eye[rows], dim=-1)
        surface = there.land(chosen.point[rows], ray, torch.arange(len(rows)))
        skin = Skin.of(gait, times[rows.numpy()].reshape(-1))
        every = torch.arange(len(rows)).repeat_interleave(frames)
        moved = skin.follow(surface.rest[every], surface.weights[every], torch.arange(len(rows) * frames))
        points[rows] = moved.reshape(len(rows), frames, 3)
    return points


def _visible(shot: Shot, chosen: Chosen, points: Tensor, times: np.ndarray) -> Tensor:
    """bool [N, T]: nothing is nearer along the ray to the point, and its surface faces the camera."""
    count, frames = times.shape
    _, eye = _cameras(shot, times)
    flat = points.reshape(-1, 3)
    away = flat - eye
    gap = away.norm(dim=-1)
    ray = (away / gap[:, None]).float()
    visible = torch.ones(len(flat), dtype=torch.bool)
    every = torch.arange(len(flat))
    for number, (gait, _) in enumerate(shot.bodies, 1):
        skin = Skin.of(gait, times.reshape(-1))
        own = (chosen.body == number).repeat_interleave(frames)
        found = skin.hit(eye.float(), ray, every, gap.float(), steps=60)
        visible &= found > gap.float() - _TOLERANCE
        mine = torch.nonzero(own)[:, 0]
        if len(mine):
            facing = (skin.at(flat[mine].float(), mine).normal * -ray[mine]).sum(-1) > 0.03
            visible[mine] &= facing
    behind, _ = shot.scenery.hit(eye.float(), ray)
    on_scene = (chosen.body == 0).repeat_interleave(frames)
    visible &= on_scene | (behind > gap.float() - 1e-3)
    return visible.reshape(count, frames)
