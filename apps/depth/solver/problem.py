"""What the solver of consistent depth is asked: frames, matches between them, switches.

Pixels have the centre of the top-left one at (0.5, 0.5); cameras have OpenCV's axes (x right, y down, z forward), their
principal point is (W/2, H/2); depth is z.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from trackime.config import check_choices, option
from trackime.errors import InputError, ShapeError

GRIDS = ("1x1", "6x4", "12x7", "17x10")
"""Handles of a frame along its longer and its shorter side, coarse to fine (R-CVD, section 3.3)."""


@dataclass(frozen=True)
class SolverConfig:
    """How cameras and depth are solved for."""

    residual: str = option(
        "default",
        "pixels and log depth, each with a robust loss; or rcvd: image coordinates and disparity, as published",
        ("default", "rcvd"),
    )
    focal: str = option(
        "shared", "focal length: one for the video, one a frame, or as given", ("shared", "free", "fixed")
    )
    gauge: str = option(
        "first",
        "the scale: the first frame's mean is kept; or the median depth of every frame is 1, as published",
        ("first", "median"),
    )
    grid: str = option("17x10", "handles of a frame's depth along its longer and shorter side, finest", GRIDS)
    sigma_z: float = option(0.1, "expected error of the logarithm of depth")
    robust: float = option(2.0, "Cauchy's scale in expected errors; rcvd: its own 0.5")
    smooth: float = option(0.1, "factor on the difference of neighbouring handles; 0: none")
    mean: float = option(1e-3, "factor on the mean of a frame's handles; 0: none")
    sigma_focal: float = option(0.5, "expected error of the logarithm of the focal length given")
    sigma_shift: float = option(1.0, "expected shift of the disparity, as a share of its median")
    coarse: int = option(200, "matches of a pair of frames used before the finest grid; 0: all")
    iterations: int = option(30, "most steps of a stage")
    tolerance: float = option(1e-5, "a stage ends when a step lowers its cost by a smaller share")
    linear: str = option(
        "auto", "how a step is solved for: conjugate gradients, block Cholesky, or the second where the first is slow",
        ("auto", "pcg", "cholesky"),
    )  # fmt: skip
    forcing: float = option(1e-3, "conjugate gradients end at this share of the residual they start with")

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("sigma_z", "robust", "sigma_focal", "sigma_shift", "tolerance", "forcing"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: expected more than 0, got {getattr(self, name):g}")
        for name in ("smooth", "mean", "coarse"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name}: expected 0 or more, got {getattr(self, name):g}")
        if self.iterations < 1:
            raise InputError(f"iterations: expected 1 or more, got {self.iterations}")


def check_gauge(config: SolverConfig, disparity: bool) -> None:
    """Raises InputError for a gauge that does not go with depth that is disparity up to scale and shift."""
    if config.gauge == "median" and disparity:
        raise InputError("gauge: expected first where the backend gives disparity with a shift, got median")


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
