"""Clips for tests of training, made in a moment: squares of coloured noise that slide over one another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trackime.training._config import CurriculumStage
from trackime.training.data import Clips


def noise(generator: torch.Generator, side: int) -> Tensor:
    """[3, side, side] in [0, 1] with detail at several scales."""
    image = torch.zeros(3, side, side)
    for step in (2, 4, 8, 16):
        small = torch.randn(1, 3, -(-side // step) + 1, -(-side // step) + 1, generator=generator)
        image += F.interpolate(small, (side, side), mode="bicubic", align_corners=False)[0]
    return torch.sigmoid(image)


def squares(seed: int, stage: CurriculumStage, count: int = 3, speed: float = 3.0) -> Clips:
    """`stage.batch` clips: a background and `count` squares in front of it, each in front of those before it."""
    generator = torch.Generator().manual_seed(seed)

    def lots(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    side, t, n = stage.side, stage.frames, stage.points
    frames, xy, visible, query, owner, masks = [], [], [], [], [], []
    centre = (torch.arange(side) + 0.5).expand(side, side)
    grid = torch.stack([centre, centre.T], -1)  # [side, side, 2]
    for _ in range(stage.batch):
        half = torch.cat([torch.tensor([10.0 * side]), side * (0.12 + 0.15 * lots(count))])
        middle = torch.cat([torch.full((1, 2), side / 2), side * lots(count, 2)])
        velocity = speed * torch.randn(count + 1, 2, generator=generator)
        times = torch.arange(t) - t // 2
        place = middle[:, None] + velocity[:, None] * times[:, None]  # [K, T, 2]
        local = grid - place[:, :, None, None]  # [K, T, side, side, 2]
        covers = (local.abs() < half[:, None, None, None, None]).all(-1)
        top = (covers * torch.arange(1, count + 2)[:, None, None, None]).argmax(0)  # [T, side, side]
        clip = torch.zeros(t, 3, side, side)
        for k in range(count + 1):
            image = noise(generator, 2 * side)[None].expand(t, -1, -1, -1)
            shown = F.grid_sample(image, local[k] / side, padding_mode="reflection", align_corners=False)
            clip = torch.where((top == k)[:, None], shown, clip)
        at = torch.randint(0, t, (n,), generator=generator)
        start = side * lots(n, 2)
        pixel = start.long().clamp(max=side - 1)
        whose = top[at, pixel[:, 1], pixel[:, 0]]
        track = start[:, None] + velocity[whose][:, None] * (torch.arange(t) - at[:, None])[..., None]
        cell = track.floor().long()
        inside = ((cell >= 0) & (cell < side)).all(-1)
        cell = cell.clamp(0, side - 1)
        seen = inside & (top[torch.arange(t), cell[..., 1], cell[..., 0]] == whose[:, None])
        frames.append(clip)
        xy.append(track)
        visible.append(seen)
        query.append(at)
        owner.append(whose)
        masks.append(top.to(torch.uint8))
    return Clips(*(torch.stack(part) for part in (frames, xy, visible, query, owner, masks)))
