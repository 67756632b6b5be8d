"""Windows: sizes, and few of them for many queries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.ime import ImeConfig
from trackime.ime.pruning import _STRAY, share_windows, window_sides


@pytest.mark.parametrize(
    ("frame", "input_size", "options", "want"),
    [
        ((720, 1280), (256, 256), {}, [640, 341]),
        ((480, 854), (256, 256), {}, [427, 256]),
        ((1080, 1920), (256, 256), {}, [960, 512]),
        ((240, 320), (256, 256), {}, [240]),
        ((240, 320), None, {}, [240]),
        ((720, 1280), (256, 256), {"windows_px": (960, 384)}, [720, 384]),
        ((720, 1280), (512, 512), {}, [640, 512]),
        ((720, 1280), None, {"window_scales": (), "clip": False}, []),
    ],
)
def test_sides(frame, input_size, options, want):
    assert window_sides(ImeConfig(**options), frame, input_size) == want


def holds(xy, offsets, side, frame, margin):
    """Share of frames in which a trajectory [T, 2] keeps its margin, by plain loops."""
    good = 0
    for (x, y), (x0, y0) in zip(xy, offsets, strict=True):
        left, top = (0 if v == 0 else margin * side for v in (x0, y0))
        right = 0 if x0 + side == frame[1] else margin * side
        bottom = 0 if y0 + side == frame[0] else margin * side
        inner = x0 + left <= x <= x0 + side - right if x0 else x <= side - right
        if x0 + side == frame[1]:
            inner = x >= x0 + left
        inner_y = y0 + top <= y <= y0 + side - bottom if y0 else y <= side - bottom
        if y0 + side == frame[0]:
            inner_y = y >= y0 + top
        good += inner and inner_y
    return good / len(xy)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 30), spread=st.sampled_from([1.0, 60.0, 300.0]))
def test_every_query_is_held_once(seed, count, spread):
    rng = np.random.default_rng(seed)
    frame, side = (200, 320), 80
    asked = rng.integers(0, 12, count)
    path = np.cumsum(rng.normal(0, 4, (1, 12, 2)), 1) + np.array([160, 100])
    xy = path + rng.normal(0, spread, (count, 1, 2)) + rng.normal(0, 1, (count, 12, 2))
    windows = share_windows(xy, asked, side, frame, 0.15)
    assert sorted(np.concatenate([rows for rows, _ in windows]).tolist()) == list(range(count))
    for rows, offsets in windows:
        assert offsets.shape == (12, 2)
        assert (offsets >= 0).all() and (offsets + side <= [frame[1], frame[0]]).all()
        for row in rows:
            assert holds(xy[row], offsets, side, frame, 0.15) >= 1 - _STRAY - 1e-9
            t = asked[row]
            assert holds(xy[row, t : t + 1], offsets[t : t + 1], side, frame, 0.15) == 1


def test_a_compact_instance_has_one_window():
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.normal(0, 5, (1, 48, 2)), 1) + 300
    xy = path + rng.uniform(-80, 80, (64, 1, 2))
    assert len(share_windows(xy, np.zeros(len(xy), int), 256, (720, 1280), 0.15)) == 1


def test_an_instance_larger_than_its_window_has_several():
    x = np.linspace(50, 1230, 40)
    xy = np.broadcast_to(np.stack([x, np.full(40, 360)], 1)[:, None], (40, 20, 2))
    windows = share_windows(xy, np.zeros(len(xy), int), 256, (720, 1280), 0.15)
    assert 1180 / 256 <= len(windows) <= 9


def test_one_query_has_the_published_window():
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 300, (1, 9, 2))
    [(rows, offsets)] = share_windows(xy, np.zeros(1, int), 64, (200, 320), 0.15)
    want = np.clip(np.floor(xy[0] - 32 + 0.5), 0, [320 - 64, 200 - 64])
    assert rows.tolist() == [0]
    np.testing.assert_array_equal(offsets, want)
