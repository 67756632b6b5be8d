"""Figures of depth: bad input first, hand-computed cases, slow references, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trackime.errors import InputError, ShapeError, UnknownNameError
from trackime.metrics import ALIGNMENTS, depth_scores


def maps(seed=0, frames=3, size=(5, 7)):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.5, 6, (frames, *size))
    estimate = truth * np.exp(0.3 * rng.standard_normal(truth.shape))
    truth[rng.random(truth.shape) < 0.2] = 0
    estimate[rng.random(truth.shape) < 0.1] = 0
    return estimate, truth


def score(estimate, truth, **options):
    return depth_scores(lambda t: estimate[t], lambda t: truth[t], range(len(truth)), **options)


def test_refuses():
    one = np.ones((2, 3, 4))
    with pytest.raises(UnknownNameError, match="unknown alignment 'scales': expected one of none, scale"):
        score(one, one, alignment="scales")
    with pytest.raises(InputError, match="frames: expected one or more"):
        score(one[:0], one[:0])
    with pytest.raises(InputError, match=r"nearest, farthest: expected 0 <= nearest < farthest, got 2, 1"):
        score(one, one, nearest=2, farthest=1)
    with pytest.raises(ShapeError, match=r"truth of frame 0: expected shape \[H, W\]"):
        score(one, one[:, 0])
    with pytest.raises(ShapeError, match=r"depth of frame 0: expected shape \[3, 4\] as the truth, got \[4, 3\]"):
        score(one.transpose(0, 2, 1), one)
    with pytest.raises(ShapeError, match="measured of frame 0"):
        score(one, one, measured=lambda t: np.ones((4, 3), bool))
    for nothing in (np.zeros_like(one), np.full_like(one, np.nan), np.full_like(one, np.inf), -one):
        with pytest.raises(InputError, match="expected pixels of known depth and truth in 2 frames, got none"):
            score(nothing, one)
        with pytest.raises(InputError, match="got none"):
            score(one, nothing)
    for alignment, where in (("scale-shift", "the video"), ("frame-scale-shift", "frame 0")):
        with pytest.raises(InputError, match=f"alignment of {where}: expected depth that varies for a scale and a"):
            score(one, one, alignment=alignment)


def test_by_hand():
    truth = np.array([[[1.0, 2.0, 4.0, 0.0]]])
    got = score(np.array([[[1.2, 3.0, 2.0, 9.0]]]), truth, alignment="none")
    # Ratios 1.2, 1.5, 2: one below 1.25, two below 1.5625, 1.953 is below 2.
    assert (got.delta1, got.delta2, got.delta3) == pytest.approx((1 / 3, 2 / 3, 2 / 3))
    assert got.abs_rel == pytest.approx((0.2 + 0.5 + 0.5) / 3)
    assert got.rmse == pytest.approx(math.sqrt((0.04 + 1 + 4) / 3))
    assert (got.coverage, got.pixels, got.scale, got.shift, got.alignment) == (1, 3, 1, 0, "none")
    half = score(np.array([[[1.2, 0.0, np.nan, 9.0]]]), truth, alignment="none")
    assert half.coverage == pytest.approx(1 / 3) and half.delta1 == 1 and half.pixels == 1
    # Exactly 1.25 is not below it.
    assert score(np.array([[[1.25]]]), np.array([[[1.0]]]), alignment="none").delta1 == 0
    # s = (1 * 1 + 2 * 3) / (1 + 4)
    scaled = score(np.array([[[1.0, 2.0]]]), np.array([[[1.0, 3.0]]]))
    assert scaled.scale == pytest.approx(1.4) and scaled.alignment == "scale"
    assert scaled.abs_rel == pytest.approx((0.4 + 0.2 / 3) / 2)


def aligned(d, z, kind):
    """Slow reference: one alignment of all pixels given."""
    if kind == "scale":
        return d * np.linalg.lstsq(d[:, None], z, rcond=None)[0]
    if kind == "median":
        return d * np.exp(np.median(np.log(z / d)))
    if kind == "scale-shift":
        s, b = np.linalg.lstsq(np.stack((1 / d, np.ones(len(d))), 1), 1 / z, rcond=None)[0]
        return np.array([min(1 / (s / v + b), z.max()) if s / v + b > 0 else z.max() for v in d])
    return d


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("seed", range(3))
def test_as_the_reference_has_it(alignment, seed):
    estimate, truth = maps(seed)
    rng = np.random.default_rng(seed)
    seen = rng.random(truth.shape) < 0.7
    got = score(estimate, truth, alignment=alignment, measured=lambda t: seen[t], nearest=1, farthest=5)
    counts = (truth > 1) & (truth <= 5)
    used = counts & (estimate > 0) & seen
    kind = alignment.removeprefix("frame-")
    if alignment.startswith("frame-"):
        d = np.concatenate([aligned(estimate[t][used[t]], truth[t][used[t]], kind) for t in range(3)])
        assert math.isnan(got.scale) and math.isnan(got.shift)
    else:
        d = aligned(estimate[used], truth[used], kind)
    z = np.concatenate([truth[t][used[t]] for t in range(3)])
    ratio = np.maximum(d / z, z / d)
    rel = 3e-4 if kind == "median" else 1e-9
    assert got.delta1 == pytest.approx((ratio < 1.25).mean()) and got.delta3 == pytest.approx((ratio < 1.25**3).mean())
    assert got.abs_rel == pytest.approx((abs(d - z) / z).mean(), rel=rel)
    assert got.rmse == pytest.approx(math.sqrt(((d - z) ** 2).mean()), rel=rel)
    assert got.pixels == used.sum() and got.coverage == pytest.approx(used.sum() / counts.sum())


def test_what_an_alignment_does_not_see():
    estimate, truth = maps()
    factors = np.array([0.3, 1.0, 40.0])[:, None, None]
    with np.errstate(divide="ignore"):
        shifted = np.where(estimate > 0, 1 / (0.7 / estimate + 0.2), 0)
    for alignment in ALIGNMENTS:
        base = score(estimate, truth, alignment=alignment)
        for other, same in (
            (123.4 * estimate, alignment != "none"),
            (factors * estimate, alignment.startswith("frame-")),
            (shifted, "shift" in alignment),
        ):
            got = score(other, truth, alignment=alignment)
            assert (got.rmse == pytest.approx(base.rmse, rel=1e-3)) == same, alignment
    for alignment in ALIGNMENTS:  # a perfect estimate is one under every name
        got = score(truth, truth, alignment=alignment)
        assert got.delta1 == 1 and got.rmse == pytest.approx(0, abs=1e-3) and got.coverage == 1


def test_reads_one_frame_at_a_time():
    alive = []

    def one(t):
        alive.append(t)
        return np.full((4, 5), 1.0 + t)

    depth_scores(one, one, (3, 1), alignment="median")
    assert alive == [3, 3, 1, 1, 3, 3, 1, 1]


def test_medians_of_even_and_odd_counts():
    for z in ([1.0, 2, 4], [1.0, 2, 4, 8], [3.0]):
        truth = np.array([[z]])
        assert score(np.ones_like(truth), truth, alignment="median").scale == pytest.approx(
            math.exp(np.median(np.log(z))), rel=1e-4
        )
