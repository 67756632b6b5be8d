"""DAVIS's J and F against published numbers and a slow reference."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trackime.metrics as metrics
from trackime.errors import InputError, ShapeError

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "davis_jf.npz")
CASES = sorted({name[:3] for name in GOLDEN.files if name.startswith("c")})
SERIES = sorted(name.removesuffix("_values") for name in GOLDEN.files if name.endswith("_values"))


def masks_of(case):
    width = GOLDEN[f"{case}_shape"][-1]

    def unpack(what):
        name = f"{case}_{what}"
        return np.unpackbits(GOLDEN[name], axis=-1)[..., :width].astype(bool) if name in GOLDEN else None

    return unpack("pred"), unpack("gt"), unpack("void")


# ------------------------------------------------------------------------------------------- bad input


def test_refuses_what_does_not_agree():
    a = np.zeros((4, 5), bool)
    with pytest.raises(ShapeError, match=r"as the truth, \[4, 5\], got \[5, 4\]"):
        metrics.region_similarity(a.T, a)
    with pytest.raises(ShapeError, match="pred"):
        metrics.contour_accuracy(a[0], a[0])
    with pytest.raises(ShapeError, match="void"):
        metrics.contour_accuracy(a, a, a[:2])
    with pytest.raises(InputError, match="tolerance"):
        metrics.contour_accuracy(a, a, tolerance=0)
    with pytest.raises(ShapeError, match="values"):
        metrics.mask_statistics([])


def test_evaluate_refuses_what_it_cannot_score():
    truth = np.zeros((4, 6, 6), np.uint8)
    with pytest.raises(ShapeError, match="4 masks as the truth"):
        metrics.evaluate_masks(truth[:3], truth)
    with pytest.raises(InputError, match="3 frames or more"):
        metrics.evaluate_masks(truth[:2], truth[:2])
    with pytest.raises(InputError, match="at least one object"):
        metrics.evaluate_masks(truth, truth)
    with pytest.raises(ShapeError, match=r"pred\[1\]"):
        metrics.evaluate_masks(truth[:, :3], truth, ids=[1])
    with pytest.raises(InputError, match="at least one object"):
        metrics.summary([])


# ------------------------------------------------------------------------------------------- published code


@pytest.mark.parametrize("case", CASES)
def test_equals_published_code(case):
    pred, truth, void = masks_of(case)
    np.testing.assert_allclose(metrics.region_similarity(pred, truth, void), GOLDEN[f"{case}_J"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(metrics.contour_accuracy(pred, truth, void), GOLDEN[f"{case}_F"], rtol=0, atol=1e-9)
    if f"{case}_F_bound3" in GOLDEN:
        got = metrics.contour_accuracy(pred, truth, void, tolerance=3)
        np.testing.assert_allclose(got, GOLDEN[f"{case}_F_bound3"], rtol=0, atol=1e-9)


def published_decay(values):
    """Of the published code: its bin edges are uint8 and wrap around at 256."""
    edges = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.int64).astype(np.uint8)
    stops = edges + np.uint8(1)
    ends = [bin[~np.isnan(bin)] for bin in (values[edges[k] : stops[k + 1]] for k in (0, 3))]
    return np.subtract(*(bin.mean() if len(bin) else np.nan for bin in ends))


@pytest.mark.parametrize("name", SERIES)
def test_statistics_equal_published_code(name):
    values, expected = GOLDEN[f"{name}_values"], GOLDEN[f"{name}_MOD"]
    correct = metrics.mask_statistics(values)
    got = correct.mean, correct.recall, published_decay(values)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9, equal_nan=True)
    if len(values) <= 255:
        assert (correct.mean, correct.recall, correct.decay) == pytest.approx(expected.tolist(), nan_ok=True)
    else:
        # Beyond 255 frames the published bins wrap; the definition does not.
        quarter = len(values) / 4
        first, last = values[: math.ceil(quarter)], values[-math.ceil(quarter) :]
        assert correct.decay == pytest.approx(np.nanmean(first) - np.nanmean(last), abs=0.02)
        assert (correct.mean, correct.recall) == pytest.approx(expected[:2].tolist())


def test_decay_of_a_long_sequence_is_the_loss():
    falling = metrics.mask_statistics(np.repeat([0.9, 0.7, 0.5, 0.2], 100))
    assert falling.decay == pytest.approx(0.7, abs=0.01)


# ------------------------------------------------------------------------------------------- slow reference


def slow_boundary(pred, truth, radius):
    """Every boundary pixel against every other."""

    def pixels(mask):
        h, w = mask.shape
        out = []
        for y in range(h):
            for x in range(w):
                around = [(min(y + i, h - 1), min(x + j, w - 1)) for i, j in ((0, 1), (1, 0), (1, 1))]
                if y == h - 1 or x == w - 1:
                    around = [p for p in around if (p[0] == y) != (p[1] == x)]
                if any(mask[p] != mask[y, x] for p in around):
                    out.append((y, x))
        return out

    def share(ours, theirs):
        return sum(any(math.dist(p, q) <= radius for q in theirs) for p in ours) / len(ours) if ours else 1.0

    a, b = pixels(pred), pixels(truth)
    if bool(a) != bool(b):
        return 0.0
    precision, recall = share(a, b), share(b, a)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), radius=st.sampled_from([1.0, 2.0, 2.5, 4.0]), blocks=st.integers(0, 3))
def test_boundary_equals_slow_reference(seed, radius, blocks):
    rng = np.random.default_rng(seed)
    masks = np.zeros((2, 14, 17), bool)
    for mask in masks:
        for _ in range(blocks):
            y, x = rng.integers(0, (14, 17))
            mask[y : y + rng.integers(1, 8), x : x + rng.integers(1, 8)] = True
    floor = math.floor(radius)  # a disk of whole pixels, as the published code's
    expected = slow_boundary(*masks, floor)
    assert metrics.contour_accuracy(*masks, tolerance=radius) == pytest.approx(expected)
    assert metrics.contour_accuracy(*masks[::-1], tolerance=radius) == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_region_equals_sets(seed):
    rng = np.random.default_rng(seed)
    a, b, void = rng.random((3, 3, 5, 6)) < rng.random((3, 1, 1, 1))
    for t, got in enumerate(metrics.region_similarity(a, b, void)):
        left = {tuple(p) for p in np.argwhere(a[t] & ~void[t])}
        right = {tuple(p) for p in np.argwhere(b[t] & ~void[t])}
        assert got == pytest.approx(len(left & right) / len(left | right) if left | right else 1)


# ------------------------------------------------------------------------------------------- protocol


def test_evaluate_leaves_out_first_and_last_frame():
    truth = np.zeros((5, 20, 30), np.uint8)
    truth[:, 2:8, 2:8], truth[:, 10:16, 12:20] = 1, 7
    pred = truth.copy()
    pred[0] = pred[-1] = 0  # not scored
    pred[2][truth[2] == 7] = 0  # object 7 lost in one of three frames
    first, second = metrics.evaluate_masks(pred, truth)
    assert (first.id, second.id) == (1, 7)
    assert first.region.tolist() == [1, 1, 1] and second.region.tolist() == [1, 0, 1]
    assert second.boundary.tolist() == [1, 0, 1]
    scores = metrics.summary([first, second])
    assert scores["J&F"] == pytest.approx(5 / 6) and scores["J_recall"] == pytest.approx(5 / 6)
    assert set(scores) == {"J&F", *(f"{a}_{b}" for a in "JF" for b in ("mean", "recall", "decay"))}


def test_evaluate_ignores_void_and_takes_lazy_masks():
    truth = np.ones((3, 8, 8), np.uint8)
    truth[:, :, 4:] = 0
    truth[:, :, 5:] = 255
    pred = truth.copy()
    pred[:, :, 5:] = 1

    class Lazy(list):
        pass

    assert metrics.evaluate_masks(Lazy(pred), Lazy(truth))[0].region.tolist() == [1]
    assert metrics.evaluate_masks(pred, truth, void=None, ids=[1])[0].region[0] < 1
    assert metrics.evaluate_masks(pred, truth, ids=[1, 3])[1].region.tolist() == [1]  # absent in both
