"""Semi-global aggregation of a cost volume (Hirschmüller 2008, "Stereo processing by semiglobal matching")."""

from __future__ import annotations

import torch

STEP = 0.04
"""Penalty P1 of a change by one plane."""
JUMP = 0.5
"""Penalty P2 of any larger change where the image is smooth."""
EDGE = 0.06
"""Difference of grey values (white is 1) at which P2 has fallen to 1 / e."""
LEAST = 0.08
"""P2 at the strongest edges; more than P1."""


def aggregate(cost: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Costs along eight paths through each pixel, added (equations 13 and 14).

    Args:
        cost: float32 [D, h, w], of order 1.
        grey: float32 [h, w] in [0, 1]; jumps are cheap where it has edges.

    Returns:
        float32 [D, h, w].
    """
    down = _aggregate_rows(cost.permute(1, 0, 2).contiguous(), grey, (-1, 0, 1))  # [h, D, w]
    across = _aggregate_rows(cost.permute(2, 0, 1).contiguous(), grey.T.contiguous(), (0,))  # [w, D, h]
    return down.permute(1, 0, 2) + across.permute(1, 2, 0)


def _aggregate_rows(cost: torch.Tensor, grey: torch.Tensor, shifts: tuple[int, ...]) -> torch.Tensor:
    """Sum of the paths from row to row of [n, D, m], forwards and backwards; a path comes from `shifts` columns away.

    Every path of a row is one more entry of a batch: rows have to wait for each other, paths need not.
    """
    n, planes, m = cost.shape
    k = len(shifts)
    jump = torch.stack([_jump_penalty(grey, shift) for shift in shifts])  # [k, n, m], to a row from the one before
    back = torch.stack([_jump_penalty(grey.flip(0), shift) for shift in shifts])
    jumps = torch.cat((jump, back)).permute(1, 0, 2)[:, :, None]  # [n, 2k, 1, m]
    total = torch.zeros_like(cost)
    padded = cost.new_zeros(2 * k, planes, m + 2)
    before, state = (cost.new_zeros(2 * k, planes, m) for _ in range(2))
    for row in range(n):
        here = torch.stack((cost[row], cost[n - 1 - row]))  # [2, D, m]
        # Beyond the sides and before the first row lie zeros: a path starts with the pixel's own cost.
        padded[:, :, 1:-1] = state
        for index, shift in enumerate(shifts):
            before[index::k] = padded[index::k, :, 1 + shift : 1 + shift + m]
        least = before.amin(1, keepdim=True)
        best = torch.minimum(before, least + jumps[row])
        near = before + STEP
        torch.minimum(best[:, 1:], near[:, :-1], out=best[:, 1:])
        torch.minimum(best[:, :-1], near[:, 1:], out=best[:, :-1])
        best -= least
        state = (best.view(2, k, planes, m) + here[:, None]).view(2 * k, planes, m)
        total[row] += state[:k].sum(0)
        total[n - 1 - row] += state[k:].sum(0)
    return total


def _jump_penalty(grey: torch.Tensor, shift: int) -> torch.Tensor:
    """P2 [n, m] for the step to each pixel from the row before, `shift` columns away."""
    before = grey.roll((1, -shift), (0, 1))
    return (JUMP * torch.exp(-(grey - before).abs() / EDGE)).clamp(min=LEAST)


def winner_takes_all(volume: torch.Tensor) -> torch.Tensor:
    """Index [h, w] of the lowest of [D, h, w], below the plane's distance by a parabola through its neighbours."""
    planes = len(volume)
    index = volume.argmin(0)
    middle = index.clamp(1, planes - 2)
    low, at, high = (volume.gather(0, (middle + k)[None])[0] for k in (-1, 0, 1))
    bend = low - 2 * at + high
    offset = torch.where(bend > 1e-9, (low - high) / (2 * bend).clamp(min=1e-9), torch.zeros_like(bend))
    inner = (index == middle).to(volume.dtype)
    return index + offset.clamp(-0.5, 0.5) * inner
