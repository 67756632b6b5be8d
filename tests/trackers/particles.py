"""What the tests of PIPs and PIPs++ share: networks with recorded weights, and a stand-in that knows the answer."""

from __future__ import annotations

import json
from functools import cache

import torch
from torch import Tensor, nn

from tests.golden import filled, vectors
from trackime.trackers.networks.pips import FRAMES, Pips
from trackime.trackers.networks.pips2 import Pips2

KINDS: dict[str, type[nn.Module]] = {"pips": Pips, "pips2": Pips2}


@cache
def network(name: str, damped: bool) -> nn.Module:
    """With weights that follow from their names; damped: with the recorded factors, so that updates do not explode."""
    with torch.device("meta"):
        module = KINDS[name]()
    if damped:
        state = network(name, damped=False).state_dict()  # shared but for what is damped
        for key, factor in json.loads(str(vectors(name)["damping"])).items():
            state[key] = state[key] * factor
    else:
        state = filled(module)
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def video(name: str) -> Tensor:
    """float [T, 3, h, w] in [0, 1]: the recorded clip."""
    return torch.from_numpy(vectors(name)["video_u8"]).permute(0, 3, 1, 2).float() / 255


class Oracle(nn.Module):
    """In place of either network: frames are grey, the number of frame t being `first + t` in 255ths.

    A point moves by `velocity` pixels a frame. It is hidden in the frames `hidden`; a window begun in one of them goes
    with an occluder at `occluder` pixels a frame.

    Attributes:
        calls: (number of first frame, number of last frame, descriptor) of each point of each call.
    """

    stride = 8

    def __init__(
        self,
        velocity: tuple[float, float] = (0.25, -0.125),
        hidden: tuple[int, ...] = (),
        occluder: tuple[float, float] = (-3.0, 2.0),
    ) -> None:
        super().__init__()
        self.velocity, self.occluder = torch.tensor(velocity), torch.tensor(occluder)
        self.hidden = torch.tensor(hidden)
        self.calls: list[tuple[float, float, float]] = []

    def encode(self, frames: Tensor) -> Tensor:
        return (frames[:, 0, :1, :1] * 255).round()[..., None].expand(-1, 8, 8, 128).contiguous()

    def describe(self, maps: Tensor, frames: Tensor, xy: Tensor) -> Tensor:
        return maps[frames, 0, 0]

    def _path(self, pyramid: list[Tensor], frames: Tensor, xy: Tensor, descriptor: Tensor) -> tuple[Tensor, Tensor]:
        number = pyramid[0][frames, 0, 0, 0]  # [N, S]
        self.calls += zip(number[:, 0].tolist(), number[:, -1].tolist(), descriptor[:, 0].tolist(), strict=True)
        lost = torch.isin(descriptor[:, 0].long(), self.hidden)[:, None, None]
        velocity = torch.where(lost, self.occluder, self.velocity)
        return xy[:, None] + (number - number[:, :1])[..., None] * velocity, number


class OraclePips(Oracle):
    def forward(
        self, pyramid: list[Tensor], frames: Tensor, xy: Tensor, descriptor: Tensor, iterations: int
    ) -> tuple[Tensor, Tensor]:
        assert frames.shape[1] == FRAMES
        path, number = self._path(pyramid, frames, xy, descriptor)
        return path[None], torch.where(torch.isin(number.long(), self.hidden), -4.0, 4.0)


class OraclePips2(Oracle):
    def forward(self, pyramid: list[Tensor], frames: Tensor, xy: Tensor, descriptor: Tensor, iterations: int) -> Tensor:
        assert torch.equal(xy, xy[:, :1].expand_as(xy)), "windows begin without motion"
        return self._path(pyramid, frames, xy[:, 0], descriptor)[0][None]


def grey(frames: int, first: int = 0) -> Tensor:
    """float [1, frames, 3, 64, 64]: clips that `Oracle` reads."""
    return ((torch.arange(frames) + first) / 255).view(1, -1, 1, 1, 1).expand(1, frames, 3, 64, 64)
