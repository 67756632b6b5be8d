"""Every switch of the solver of consistent depth."""

from __future__ import annotations

from dataclasses import dataclass

from trackime.config import check_choices, option
from trackime.errors import InputError

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
        "shared", "focal length: one for the video, one per frame, or as given", ("shared", "free", "fixed")
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
        "auto", "linear solver of a step: conjugate gradients, block Cholesky, or the second where the first is slow",
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
