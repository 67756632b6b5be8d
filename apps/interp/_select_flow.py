"""Which of several flows holds at each pixel: the one that finds again what is there, and that the way back confirms.

The first candidate is the default: another one takes its place only where it is better by a margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trackime.arrays import Float32, UInt8
from trackime.imaging import forward_backward_error, lands_inside, warp_backward

_OFFSETS = [(y, x) for y in range(-3, 4) for x in range(-3, 4) if (y, x) != (0, 0) and (x + y) % 2 == 0]
_ALIKE = 3  # grey levels that count as none
_OUTSIDE = 1.2  # what leaves the frame cannot be told: about the cost of a poor match


@dataclass(frozen=True)
class Choice:
    """How candidates are judged. A census difference is 0 to 2: two neighbours told apart the other way round are 2.

    Attributes:
        margin: by how much a candidate must be better than the default.
        colour: cost of a difference of 1 in colour, which counts up to `most`.
        most: see `colour`.
        back: cost of a way back that misses by `miss` pixels or more.
        miss: see `back`.
        spread: pixels of the Gaussian over which costs are averaged, so that neighbours choose alike.
        rounds: times that both directions choose, each by the other's last choice.
    """

    margin: float = 0.03
    colour: float = 2.0
    most: float = 0.2
    back: float = 1.0
    miss: float = 4.0
    spread: float = 3.0
    rounds: int = 2


def choose(
    here: UInt8,
    there: UInt8,
    forward: Sequence[Float32],
    backward: Sequence[Float32],
    choice: Choice | None = None,
) -> tuple[Float32, Float32]:
    """The flows of both directions, put together from candidates.

    Args:
        here, there: the frames, uint8 [h, w, 3] RGB.
        forward: candidates [h, w, 2] from here to there, the default first.
        backward: from there to here.
        choice: how to judge.
    """
    how = choice or Choice()
    looks = [_looks(here, there, forward, how), _looks(there, here, backward, how)]
    best = [forward[0], backward[0]]
    for _ in range(how.rounds):
        picks = [
            _pick(flows, look, best[1 - side], how)
            for side, (flows, look) in enumerate(zip((forward, backward), looks, strict=True))
        ]
        best = picks
    return best[0], best[1]


def census(grey: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """Signs [24, h, w] of what is brighter (1), alike (0), darker (-1) around each pixel (Zabih and Woodfill, 1994)."""
    h, w = grey.shape
    wide = cv2.copyMakeBorder(np.asarray(grey, np.int16), 3, 3, 3, 3, cv2.BORDER_REPLICATE)
    signs = np.empty((len(_OFFSETS), h, w), np.int8)
    for k, (y, x) in enumerate(_OFFSETS):
        off = wide[3 + y : 3 + y + h, 3 + x : 3 + x + w] - wide[3 : 3 + h, 3 : 3 + w]
        np.subtract(off > _ALIKE, off < -_ALIKE, out=signs[k], dtype=np.int8)
    return signs


def _looks(here: UInt8, there: UInt8, flows: Sequence[Float32], how: Choice) -> list[Float32]:
    """How unlike each flow finds the other frame, [h, w] each."""
    signs = census(cv2.cvtColor(here, cv2.COLOR_RGB2GRAY))
    costs = []
    for flow in flows:
        seen = warp_backward(there, flow)
        other = census(np.round(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)))
        unlike = np.abs(signs - other).sum(0, dtype=np.int16).astype(np.float32) / len(_OFFSETS)
        off = np.abs(seen - here).mean(2) / 255
        cost = unlike + how.colour * np.minimum(off, how.most)
        cost[~lands_inside(flow)] = _OUTSIDE
        costs.append(np.asarray(cost, np.float32))
    return costs


def _pick(flows: Sequence[Float32], looks: Sequence[Float32], back: Float32, how: Choice) -> Float32:
    costs = []
    for k, (flow, look) in enumerate(zip(flows, looks, strict=True)):
        cost = look + how.back * np.minimum(forward_backward_error(flow, back) / how.miss, 1)
        costs.append(cv2.GaussianBlur(cost, (0, 0), how.spread) + (how.margin if k else 0))
    label = np.argmin(np.stack(costs), 0)
    picked = flows[0].copy()
    for k, flow in enumerate(flows[1:], 1):
        picked[label == k] = flow[label == k]
    return picked
