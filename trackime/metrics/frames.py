"""Quality of interpolated frames: PSNR, SSIM in both definitions in use, interpolation error, LPIPS.

A frame is [H, W, 3]: uint8, uint16, or floating in [0, 1]; each frame of a pair is brought to [0, 1] by its own type.
Tables of the field are of frames rounded to 8 bits: to be comparable with them, round before scoring. `pred` is the
interpolated frame, `truth` the frame that was left out. All measures are symmetric in the two.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from trackime.arrays import Float64
from trackime.errors import DownloadError, InputError, MissingExtraError, ShapeError, UnknownNameError

Network = Literal["alex", "vgg", "squeeze"]
_NETWORKS: tuple[Network, ...] = get_args(Network)

_PSNR_CAP = 100.0
"""dB of frames that are equal, or nearly: infinity would spoil every mean."""

_SIGMA, _RADIUS = 1.5, 5
"""SSIM's Gaussian window: 11 pixels wide."""

_K1, _K2 = 0.01, 0.03
"""SSIM's constants (Wang et al. 2004, section III.C), for a range of 1."""

_SLACK = 1e-3
"""Largest excess of a floating frame over [0, 1], from rounding or ringing, which is clipped. More is an error."""


@dataclass(frozen=True, eq=False)
class FrameScores:
    """Scores of a series of frames.

    Attributes:
        mean: each measure's mean over frames.
        frames: each measure of each frame, float64 [N], under the same names: psnr, ssim, ssim_3d, ie_rms, ie_mae and,
            where asked for, lpips_alex (or the network it is of).
    """

    mean: dict[str, float]
    frames: dict[str, Float64]


def psnr(pred: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels: -10 log10 of the mean square, at most 100.

    Raises:
        InputError: frames that are not frames, or do not agree.
    """
    return _psnr(*_pair(pred, truth))


def ssim(pred: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Structural similarity (Wang et al. 2004, equation 13) in [-1, 1].

    Each channel on its own, an 11x11 Gaussian window of sigma 1.5, population covariance, range 1; the mean is over the
    pixels whose window is inside the frame, as in the authors' program. Equal to scikit-image's
    ``structural_similarity(..., gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1)``, in a
    third of its time, and by the formula that `ssim_3d`, which scikit-image does not have, needs as well.

    Raises:
        InputError: as `psnr`, or frames less than 11 pixels wide or high.
    """
    return _ssim(*_large(*_pair(pred, truth)))


def ssim_3d(pred: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Structural similarity of the two frames taken as volumes [3, H, W], what many tables of interpolation print.

    The same formula with an 11x11x11 Gaussian window: the third dimension is the channels. The volume is continued by
    its outermost values on all sides, and the mean is over all of it. It is mostly higher than `ssim`; the two must
    not be mixed in one table.

    Raises:
        InputError: as `ssim`.
    """
    return _ssim_3d(*_large(*_pair(pred, truth)))


def ie_rms(pred: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Interpolation error as root-mean-square over pixels and channels, in [0, 255] (after Baker et al. 2011, 4.2).

    Baker et al. sum the squares of a pixel's channels, which makes it sqrt(3) times this.

    Raises:
        InputError: as `psnr`.
    """
    return _ie_rms(*_pair(pred, truth))


def ie_mae(pred: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Interpolation error as mean absolute difference over pixels and channels, in [0, 255].

    Raises:
        InputError: as `psnr`.
    """
    return _ie_mae(*_pair(pred, truth))


def lpips(pred: npt.ArrayLike, truth: npt.ArrayLike, network: Network = "alex", device: str = "cpu") -> float:
    """Learned perceptual distance (Zhang et al. 2018, version 0.1), 0 for equal frames; needs the extra ``lpips``.

    Args:
        pred, truth: frames.
        network: alex, vgg or squeeze; figures of different networks cannot be compared.
        device: where to run it.

    Raises:
        MissingExtraError: the extra is not installed.
        DownloadError: the network's weights are not in its cache and cannot be fetched.
        InputError: as `psnr`, or an unknown network.
    """
    return _lpips(*_pair(pred, truth), network, device)


def evaluate_frames(
    preds: Iterable[npt.ArrayLike],
    truths: Iterable[npt.ArrayLike],
    lpips_network: Network | None = None,
    device: str = "cpu",
) -> FrameScores:
    """All measures of a series of frames, one pair in memory at a time.

    Args:
        preds, truths: as many of the one as of the other: stacks [N, H, W, 3], lists or generators of frames, or a
            single frame [H, W, 3] each.
        lpips_network: adds LPIPS by this network.
        device: where LPIPS runs.

    Returns:
        Means over frames and the values of each frame. PSNR is a mean of dB, not the dB of a mean.

    Raises:
        InputError: no frames, more of one than of the other, or as the measures do; naming the pair.
    """
    measures: dict[str, Callable[[Float64, Float64], float]] = {
        "psnr": _psnr,
        "ssim": _ssim,
        "ssim_3d": _ssim_3d,
        "ie_rms": _ie_rms,
        "ie_mae": _ie_mae,
    }
    if lpips_network is not None:
        _network(lpips_network, device)  # what is missing is said before the work
        measures[f"lpips_{lpips_network}"] = lambda a, b: _lpips(a, b, lpips_network, device)
    values: dict[str, list[float]] = {name: [] for name in measures}
    missing = object()
    for k, (pred, truth) in enumerate(zip_longest(_series(preds), _series(truths), fillvalue=missing)):
        if pred is missing or truth is missing:
            side, other = ("preds", "truths") if pred is missing else ("truths", "preds")
            raise InputError(f"{side}: expected as many frames as {other}, got only {k}")
        pair = _large(*_pair(pred, truth, f"[{k}]"), f"[{k}]")
        for name, measure in measures.items():
            values[name].append(measure(*pair))
    if not values["psnr"]:
        raise InputError("preds: expected at least one frame, got none")
    frames = {name: np.asarray(series, np.float64) for name, series in values.items()}
    return FrameScores({name: float(series.mean()) for name, series in frames.items()}, frames)


def _psnr(a: Float64, b: Float64) -> float:
    error = _mean_square(a, b)
    return _PSNR_CAP if error <= 10 ** (-_PSNR_CAP / 10) else -10 * math.log10(error)


def _ie_rms(a: Float64, b: Float64) -> float:
    return 255 * math.sqrt(_mean_square(a, b))


def _ie_mae(a: Float64, b: Float64) -> float:
    return 255 * float(np.abs(a - b).mean())


def _mean_square(a: Float64, b: Float64) -> float:
    return float(np.square(a - b).mean())


def _ssim(a: Float64, b: Float64) -> float:
    inside = slice(_RADIUS, -_RADIUS)
    return float(_similarity(a, b, _blur)[inside, inside].mean())


def _ssim_3d(a: Float64, b: Float64) -> float:
    mixed = _between_channels()
    return float(_similarity(a, b, lambda image: _blur(image) @ mixed).mean())


def _similarity(a: Float64, b: Float64, blur: Callable[[Float64], Float64]) -> Float64:
    """SSIM at every pixel and channel (Wang et al. 2004, equation 13), local moments by `blur`."""
    c1, c2 = _K1**2, _K2**2
    mean_a, mean_b = blur(a), blur(b)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance = blur(a * b) - product
    variances = blur(a * a + b * b) - squares  # only their sum is needed
    return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))


def _window() -> Float64:
    """The Gaussian window in one dimension, [11]."""
    window = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    return window / window.sum()


def _blur(image: Float64) -> Float64:
    """[H, W, 3] under the window along x and y, continued by its outermost values."""
    return np.asarray(cv2.sepFilter2D(image, cv2.CV_64F, _window(), _window(), borderType=cv2.BORDER_REPLICATE))


def _between_channels(channels: int = 3) -> Float64:
    """The window along the channels, continued likewise, as a matrix [from, to]."""
    matrix = np.zeros((channels, channels))
    for to in range(channels):
        for offset, share in zip(range(-_RADIUS, _RADIUS + 1), _window(), strict=True):
            matrix[min(max(to + offset, 0), channels - 1), to] += share
    return matrix


def _lpips(a: Float64, b: Float64, network: Network, device: str) -> float:
    import torch

    model = _network(network, device)
    tensors = [torch.from_numpy(2 * image - 1).permute(2, 0, 1)[None].float().to(device) for image in (a, b)]
    with torch.inference_mode():
        return float(model(*tensors))


@lru_cache(maxsize=2)
def _network(network: Network, device: str) -> Any:
    """The LPIPS model of a network."""
    if network not in _NETWORKS:
        raise UnknownNameError("LPIPS network", str(network), _NETWORKS)
    try:
        import lpips as package
    except ImportError:
        raise MissingExtraError("LPIPS", "lpips") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision, about the way lpips asks for weights
        try:
            model = package.LPIPS(net=network, verbose=False)
        except OSError as error:
            raise DownloadError(
                f"LPIPS: expected the weights of {network} in torch's cache or a network: {error}"
            ) from None
    return model.eval().to(device)


def _series(frames: Iterable[npt.ArrayLike]) -> Iterable[npt.ArrayLike]:
    """Frames one by one; a single array [H, W, 3] is one frame."""
    return [frames] if isinstance(frames, np.ndarray) and frames.ndim == 3 else frames


def _pair(pred: Any, truth: Any, where: str = "") -> tuple[Float64, Float64]:
    a, b = _frame(pred, f"pred{where}"), _frame(truth, f"truth{where}")
    if a.shape != b.shape:
        raise ShapeError(f"pred{where}", f"as the truth, {list(b.shape)}", a.shape)
    return a, b


def _large(a: Float64, b: Float64, where: str = "") -> tuple[Float64, Float64]:
    """The pair, where SSIM's window fits into it."""
    side = 2 * _RADIUS + 1
    if min(a.shape[:2]) < side:
        raise ShapeError(f"pred{where}", f"[H, W, 3] with H, W >= {side}, the size of SSIM's window", a.shape)
    return a, b


def _frame(frame: Any, name: str) -> Float64:
    """A frame as float64 [H, W, 3] in [0, 1]."""
    image = np.asarray(frame)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError(name, "[H, W, 3]", image.shape)
    if image.dtype in (np.uint8, np.uint16):
        return image / float(np.iinfo(image.dtype).max)
    if image.dtype.kind != "f":
        raise InputError(f"{name}: expected uint8, uint16 or floating in [0, 1], got {image.dtype}")
    low, high = float(image.min()), float(image.max())
    if not (-_SLACK <= low and high <= 1 + _SLACK):  # NaN fails both
        raise InputError(f"{name}: expected floating values in [0, 1], got {low:.4g} to {high:.4g}")
    return image.astype(np.float64).clip(0, 1)
