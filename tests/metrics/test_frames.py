"""Measures of interpolated frames: bad input, values by hand, scikit-image and a slow reference."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from trackime.errors import DownloadError, InputError, MissingExtraError, ShapeError, UnknownNameError
from trackime.metrics import frames as metrics
from trackime.metrics import psnr, ssim
from trackime.metrics.frames import evaluate_frames, ie_mae, ie_rms, ssim_3d

MEASURES = {"psnr": psnr, "ssim": ssim, "ssim_3d": ssim_3d, "ie_rms": ie_rms, "ie_mae": ie_mae}
BEST = {"psnr": 100.0, "ssim": 1.0, "ssim_3d": 1.0, "ie_rms": 0.0, "ie_mae": 0.0}


def pair(seed, height=13, width=16, noise=0.1, dtype=np.float64):
    """A smooth frame and a noisy copy of it, [H, W, 3] in [0, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 7
    truth = 0.5 + 0.4 * np.stack([np.sin(x + y), np.cos(x * y), np.sin(2 * x - y)], -1)
    pred = (truth + noise * random.standard_normal(truth.shape)).clip(0, 1)
    return pred.astype(dtype), truth.astype(dtype)


def window(i, size=11, sigma=1.5):
    return np.exp(-((i - size // 2) ** 2) / (2 * sigma**2))


def slow_ssim_3d(a, b):
    """The mean over all voxels of [3, H, W] of SSIM with an 11x11x11 window, replicated borders, by loops."""
    volumes = [np.pad(v.transpose(2, 0, 1), 5, mode="edge") for v in (a, b)]
    line = window(np.arange(11))
    weights = line[:, None, None] * line[:, None] * line
    weights /= weights.sum()
    total = []
    for c in range(3):
        for y in range(a.shape[0]):
            for x in range(a.shape[1]):
                p, q = (v[c : c + 11, y : y + 11, x : x + 11] for v in volumes)
                mp, mq = (weights * p).sum(), (weights * q).sum()
                vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
                cov = (weights * (p - mp) * (q - mq)).sum()
                c1, c2 = 0.01**2, 0.03**2
                total.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return np.mean(total)


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_refuses_what_are_no_frames(measure):
    good = np.zeros((12, 14, 3), np.uint8)
    with pytest.raises(ShapeError, match=r"pred: expected shape \[H, W, 3\], got \[12, 14\]"):
        measure(good[..., 0], good)
    with pytest.raises(ShapeError, match=r"truth: expected shape \[H, W, 3\], got \[12, 14, 4\]"):
        measure(good, np.zeros((12, 14, 4), np.uint8))
    with pytest.raises(ShapeError, match=r"pred: expected shape \[H, W, 3\], got \[0, 14, 3\]"):
        measure(good[:0], good[:0])
    with pytest.raises(ShapeError, match=r"pred: expected shape as the truth, \[12, 14, 3\], got \[11, 14, 3\]"):
        measure(good[:11], good)
    with pytest.raises(InputError, match=r"truth: expected uint8, uint16 or floating in \[0, 1\], got int64"):
        measure(good, good.astype(np.int64))
    with pytest.raises(InputError, match=r"pred: expected floating values in \[0, 1\], got 0 to 255"):
        measure(np.linspace(0, 255, good.size).reshape(good.shape), good)
    with pytest.raises(InputError, match=r"pred: expected floating values in \[0, 1\], got nan"):
        measure(np.full(good.shape, np.nan), good)


def test_refuses_frames_smaller_than_the_window():
    small = np.zeros((10, 40, 3), np.uint8)
    for measure in (ssim, ssim_3d):
        with pytest.raises(ShapeError, match=r"H, W >= 11, the size of SSIM's window, got \[10, 40, 3\]"):
            measure(small, small)
    assert psnr(small, small) == 100 and ie_rms(small, small) == 0


def test_refuses_series_that_do_not_agree():
    frames = np.zeros((3, 12, 12, 3), np.uint8)
    with pytest.raises(InputError, match="preds: expected as many frames as truths, got only 2"):
        evaluate_frames(frames[:2], frames)
    with pytest.raises(InputError, match="truths: expected as many frames as preds, got only 1"):
        evaluate_frames(iter(frames), iter(frames[:1]))
    with pytest.raises(InputError, match="at least one frame"):
        evaluate_frames([], [])
    with pytest.raises(ShapeError, match=r"pred\[1\]: expected shape as the truth"):
        evaluate_frames([frames[0], frames[0, :11]], frames[:2])
    with pytest.raises(ShapeError, match=r"pred\[0\]: .* SSIM's window"):
        evaluate_frames(frames[:, :5], frames[:, :5])


def test_lpips_that_is_missing_is_one_line(monkeypatch):
    frame = np.zeros((12, 12, 3), np.uint8)
    metrics._network.cache_clear()
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(MissingExtraError, match=r"^LPIPS needs an optional .*: pip install 'trackime\[lpips\]'$"):
        metrics.lpips(frame, frame)
    with pytest.raises(MissingExtraError):
        evaluate_frames(iter(()), iter(()), lpips_network="vgg")  # said before any frame is read
    with pytest.raises(UnknownNameError, match="LPIPS network 'resnet': expected one of alex, vgg, squeeze"):
        metrics.lpips(frame, frame, "resnet")


# ------------------------------------------------------------------------------------------- LPIPS's wiring


def fake_lpips(monkeypatch, fails=None):
    """A package whose distance is the mean absolute difference of what it is given; the inputs it saw."""
    seen = []

    class Distance(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            if fails:
                raise fails
            self.scale = {"alex": 1.0, "vgg": 2.0}[net]

        def forward(self, a, b):
            seen.append((a, b))
            return (a - b).abs().mean()[None, None, None, None] * self.scale

    metrics._network.cache_clear()
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=Distance))
    return seen


def test_lpips_gets_frames_in_minus_one_to_one_and_is_named(monkeypatch):
    seen = fake_lpips(monkeypatch)
    black, white = np.zeros((12, 14, 3), np.uint8), np.full((12, 14, 3), 255, np.uint8)
    assert metrics.lpips(black, white) == 2 and metrics.lpips(black, white, "vgg") == 4
    a, b = seen[0]
    assert a.shape == (1, 3, 12, 14) and a.dtype == torch.float32 and (a == -1).all() and (b == 1).all()
    got = evaluate_frames([black, black], [white, black], lpips_network="alex")
    assert got.frames["lpips_alex"].tolist() == [2, 0] and got.mean["lpips_alex"] == 1
    metrics._network.cache_clear()


def test_lpips_without_its_weights_is_one_line(monkeypatch):
    fake_lpips(monkeypatch, fails=OSError("no route to host"))
    frame = np.zeros((12, 12, 3), np.uint8)
    with pytest.raises(DownloadError, match="weights of alex in torch's cache or a network: no route to host"):
        metrics.lpips(frame, frame)


# ------------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_known_values(dtype):
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    black, white = np.zeros((12, 12, 3), dtype), np.full((12, 12, 3), top, dtype)
    assert psnr(black, white) == 0 and ie_rms(black, white) == 255 and ie_mae(black, white) == 255
    # Flat frames: only the first factor is left, (2 * 0 * 1 + c1) / (0 + 1 + c1).
    assert ssim(black, white) == pytest.approx(1e-4 / 1.0001, rel=1e-9)
    assert ssim_3d(black, white) == pytest.approx(1e-4 / 1.0001, rel=1e-9)


def test_known_errors():
    truth = np.full((12, 20, 3), 100, np.uint8)
    pred = truth.copy()
    pred[..., 0] += 6  # one channel of three
    assert ie_mae(pred, truth) == pytest.approx(2)
    assert ie_rms(pred, truth) == pytest.approx(np.sqrt(12))
    assert psnr(pred, truth) == pytest.approx(20 * np.log10(255 / np.sqrt(12)))


def test_psnr_is_capped_at_100():
    truth = np.full((12, 12, 3), 0.5)
    assert psnr(truth + 1e-6, truth) == 100
    assert psnr(truth + 2e-5, truth) == pytest.approx(-20 * np.log10(2e-5))


def test_types_may_differ_and_slack_is_clipped():
    eight = np.full((12, 12, 3), 255, np.uint8)
    sixteen = np.full((12, 12, 3), 65535, np.uint16)
    for name, measure in MEASURES.items():
        assert measure(eight, sixteen) == measure(eight, np.full((12, 12, 3), 1.0005)) == BEST[name]


# ------------------------------------------------------------------------------------------- references


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(11, 24), st.integers(11, 24), st.sampled_from([0.01, 0.2, 2.0]))
def test_ssim_equals_scikit_image(seed, height, width, noise):
    pred, truth = pair(seed, height, width, noise)
    expected = structural_similarity(
        pred, truth, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(pred, truth) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("height", "width", "noise"), [(11, 11, 0.05), (11, 17, 0.5), (14, 12, 3.0)])
def test_ssim_3d_equals_a_slow_reference(height, width, noise):
    pred, truth = pair(height, height, width, noise)
    assert ssim_3d(pred, truth) == pytest.approx(slow_ssim_3d(pred, truth), abs=1e-9)
    assert abs(ssim_3d(pred, truth) - ssim(pred, truth)) > 1e-4  # the two are not the same measure


# ------------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("name", MEASURES)
def test_best_symmetric_and_worse_with_more_noise(name):
    measure, sign = MEASURES[name], -1 if name.startswith("ie") else 1
    pred, truth = pair(1)
    assert measure(truth, truth) == pytest.approx(BEST[name], abs=1e-12)
    assert measure(pred, truth) == pytest.approx(measure(truth, pred), rel=1e-12)
    series = [sign * measure(*pair(1, noise=noise)) for noise in (0.02, 0.1, 0.3)]
    assert series[0] > series[1] > series[2]
    flipped = measure(pred[::-1, ::-1], truth[::-1, ::-1])
    assert flipped == pytest.approx(measure(pred, truth), rel=1e-9)


def test_score_is_each_measure_of_each_frame():
    pairs = [pair(seed, noise=0.05 * (seed + 1)) for seed in range(3)]
    preds, truths = (np.stack(side) for side in zip(*pairs, strict=True))
    got = evaluate_frames(preds, truths)
    assert list(got.mean) == list(got.frames) == list(MEASURES)
    for name, measure in MEASURES.items():
        expected = [measure(a, b) for a, b in pairs]
        assert got.frames[name].tolist() == expected and got.frames[name].dtype == np.float64
        assert got.mean[name] == pytest.approx(np.mean(expected))
    for again in (evaluate_frames(list(preds), list(truths)), evaluate_frames((p for p in preds), iter(truths))):
        assert again.mean == got.mean
    assert evaluate_frames(preds[0], truths[0]).frames["psnr"].tolist() == [psnr(preds[0], truths[0])]
