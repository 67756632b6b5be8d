"""The input of the solver of consistent depth: frames and matches between them.

Pixels have the centre of the top-left one at (0.5, 0.5); cameras have OpenCV's axes (x right, y down, z forward), their
principal point is (W/2, H/2); depth is z.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from trackime.errors import InputError, ShapeError


@dataclass(frozen=True, eq=False)
class Matches:
    """Points seen in two frames; a match is directed, and both directions may be given.

    Attributes:
        i, j: int64 [M], the frames.
        x_i, x_j: float64 [M, 2] pixels, where the point is in each.
        d_i, d_j: float64 [M], initial depths sampled there, bilinearly; positive. Where the backend gives disparity:
            1 / disparity, infinite where that is 0.
        weight: float64 [M], of the match in the cost, 0 or more. A track's should sum to a share of its visible frames.
        sigma: float64 [M] pixels, expected error of x_j - x_i.
    """

    i: torch.Tensor
    j: torch.Tensor
    x_i: torch.Tensor
    x_j: torch.Tensor
    d_i: torch.Tensor
    d_j: torch.Tensor
    weight: torch.Tensor
    sigma: torch.Tensor

    def __post_init__(self) -> None:
        count = self.i.shape[0] if self.i.ndim == 1 else -1
        for item in fields(self):
            value = getattr(self, item.name)
            wide = item.name in ("x_i", "x_j")
            if tuple(value.shape) != ((count, 2) if wide else (count,)):
                raise ShapeError(item.name, "[M, 2]" if wide else "[M]", value.shape)

    def __len__(self) -> int:
        return int(self.i.shape[0])

    def take(self, which: torch.Tensor) -> Matches:
        """Matches of a mask bool [M] or of indices int64."""
        return Matches(*(getattr(self, item.name)[which] for item in fields(self)))

    def to(self, device: torch.device | str) -> Matches:
        """The same on a device, floats as float64."""
        values = (getattr(self, item.name) for item in fields(self))
        return Matches(*(v.to(device, torch.float64 if v.is_floating_point() else torch.int64) for v in values))


@dataclass(frozen=True, eq=False)
class Problem:
    """A video to solve for.

    Attributes:
        frames: their number F.
        width, height: of a frame, pixels.
        matches: between its frames.
        focal: pixels, to start from (kept where `SolverConfig.focal` is fixed).
        disparity: the backend gives disparity up to scale and shift: one shift is solved for. Otherwise depth, metric
            or up to scale.
        poses: float64 [F, 4, 4] camera-to-world to start from; None: all the same.
    """

    frames: int
    width: int
    height: int
    matches: Matches
    focal: float
    disparity: bool = False
    poses: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or self.width < 1 or self.height < 1:
            got = f"{self.frames} frames of {self.width}x{self.height}"
            raise InputError(f"problem: expected at least one frame of at least 1x1 pixels, got {got}")
        if not (self.focal > 0 and self.focal < float("inf")):
            raise InputError(f"focal: expected a positive number of pixels, got {self.focal:g}")
        if self.poses is not None and tuple(self.poses.shape) != (self.frames, 4, 4):
            raise ShapeError("poses", f"[{self.frames}, 4, 4]", self.poses.shape)
        if self.poses is not None and not bool(torch.isfinite(self.poses).all()):
            raise InputError("poses: expected finite numbers, got NaN or infinity")
        m = self.matches
        if len(m) == 0:
            if self.frames > 1:
                raise InputError(f"matches: expected some between the {self.frames} frames, got none")
            return
        low, high = int(torch.minimum(m.i, m.j).min()), int(torch.maximum(m.i, m.j).max())
        if low < 0 or high >= self.frames:
            raise InputError(f"matches: expected frames 0 .. {self.frames - 1}, got {low} .. {high}")
        if bool((m.i == m.j).any()):
            raise InputError("matches: expected two different frames each, got a frame matched with itself")
        for name in ("x_i", "x_j", "weight", "sigma"):
            if not bool(torch.isfinite(getattr(m, name)).all()):
                raise InputError(f"matches: expected finite {name}, got NaN or infinity")
        if not bool((m.weight > 0).any()):
            raise InputError("matches: expected some of a weight above 0, got none")
        if bool((m.weight < 0).any()) or bool((m.sigma <= 0).any()):
            raise InputError("matches: expected weight >= 0 and sigma > 0, got smaller ones")
        for name in ("d_i", "d_j"):
            d = getattr(m, name)
            good = (d > 0) if self.disparity else (d > 0) & torch.isfinite(d)
            if not bool(good.all()):
                raise InputError(f"matches: expected positive depths {name}, got {float(d[~good][0]):g}")
