"""Pixel conventions against slow references written from the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.arrays import inside
from trackime.errors import InputError, ShapeError
from trackime.geometry import cut_windows, resize_frames, sample, scale_points, to_torch, window_offsets

SIDES = st.integers(1, 40)


def bilinear(image: np.ndarray, x: float, y: float, zeros: bool) -> np.ndarray:
    """[C] of image [C, h, w] at one point: four neighbours' centres, written out."""
    _, h, w = image.shape
    if not zeros:
        x, y = min(max(x, 0.5), w - 0.5), min(max(y, 0.5), h - 0.5)
    left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    total = np.zeros(len(image))
    for column in (left, left + 1):
        for row in (top, top + 1):
            weight = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
            if 0 <= column < w and 0 <= row < h:
                total += weight * image[:, row, column]
    return total


class TestSample:
    @pytest.mark.parametrize(
        ("maps", "xy"),
        [((3, 4, 4), (1, 2, 2)), ((1, 3, 4, 4), (2, 2)), ((1, 3, 4, 4), (1, 2, 3)), ((2, 3, 4, 4), (1, 2, 2))],
    )
    def test_bad_shapes(self, maps: tuple[int, ...], xy: tuple[int, ...]) -> None:
        with pytest.raises(ShapeError):
            sample(torch.zeros(maps), torch.zeros(xy))

    def test_no_points(self) -> None:
        assert sample(torch.zeros(2, 3, 4, 5), torch.zeros(2, 0, 2)).shape == (2, 0, 3)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**16), st.sampled_from(["border", "zeros"]))
    def test_reference(self, h: int, w: int, seed: int, padding: str) -> None:
        rng = np.random.default_rng(seed)
        maps = rng.uniform(size=(2, 3, h, w))
        xy = rng.uniform(-2, max(h, w) + 2, (2, 5, 2))
        got = sample(torch.from_numpy(maps), torch.from_numpy(xy), padding).numpy()
        for b in range(2):
            for n in range(5):
                np.testing.assert_allclose(got[b, n], bilinear(maps[b], *xy[b, n], padding == "zeros"), atol=1e-9)

    def test_centres_are_half_integers(self) -> None:
        maps = torch.arange(12.0).reshape(1, 1, 3, 4)
        y, x = torch.meshgrid(torch.arange(3) + 0.5, torch.arange(4) + 0.5, indexing="ij")
        xy = torch.stack([x.ravel(), y.ravel()], -1)[None]
        torch.testing.assert_close(sample(maps, xy)[0, :, 0], torch.arange(12.0))


class TestScale:
    @settings(max_examples=30, deadline=None)
    @given(SIDES, SIDES, SIDES, SIDES)
    def test_there_and_back(self, h: int, w: int, h2: int, w2: int) -> None:
        corners = np.array([[0, 0], [w, h], [0.5, 0.5]], np.float64)
        scaled = scale_points(corners, (h, w), (h2, w2))
        np.testing.assert_allclose(scaled[:2], [[0, 0], [w2, h2]], atol=1e-9)
        np.testing.assert_allclose(scale_points(scaled, (h2, w2), (h, w)), corners, atol=1e-9)
        torch.testing.assert_close(scale_points(torch.from_numpy(corners), (h, w), (h2, w2)), torch.from_numpy(scaled))

    @pytest.mark.parametrize("size", [(20, 24), (40, 48), (13, 90)])
    def test_a_resized_ramp_agrees(self, size: tuple[int, int]) -> None:
        # A ramp's value tells where it was: resizing frames and points must agree away from the edges.
        h, w = 30, 36
        x = (torch.arange(w) + 0.5).expand(1, 1, h, w)
        y = (torch.arange(h) + 0.5)[:, None].expand(1, 1, h, w)
        frames = torch.cat([x, y, x], 1)
        points = torch.tensor([[[18.0, 15.0], [10.3, 12.7], [25.0, 20.5]]])
        resized = resize_frames(frames, size)
        got = sample(resized, scale_points(points, (h, w), size))
        # The filter's own ripple is below 0.03; a half-pixel slip in either convention would be 0.1 to 0.7.
        torch.testing.assert_close(got[..., :2], points, atol=0.05, rtol=0)


class TestResize:
    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_shapes(self, lead: tuple[int, ...]) -> None:
        assert resize_frames(torch.rand(*lead, 3, 9, 7), (4, 5)).shape == (*lead, 3, 4, 5)

    def test_same_size_is_the_argument(self) -> None:
        frames = torch.rand(2, 3, 4, 5)
        assert resize_frames(frames, (4, 5)) is frames

    def test_shrinking_averages(self) -> None:
        frames = (torch.arange(16) % 2).float().expand(1, 3, 16, 16)
        small = resize_frames(frames, (4, 4))
        assert (small - 0.5).abs().max() < 0.1


class TestWindows:
    @pytest.mark.parametrize("size", [(11, 5), (5, 13), (0, 5), (5, -1)])
    def test_larger_than_the_frame(self, size: tuple[int, int]) -> None:
        with pytest.raises(InputError, match=r"\(10, 12\)"):
            window_offsets(np.zeros((3, 2)), size, (10, 12))

    @settings(max_examples=50, deadline=None)
    @given(data=st.data())
    def test_inside_and_centred(self, data: st.DataObject) -> None:
        frame_h, frame_w = data.draw(SIDES), data.draw(SIDES)
        h, w = data.draw(st.integers(1, frame_h)), data.draw(st.integers(1, frame_w))
        centre = np.array([data.draw(st.floats(-50, 90)), data.draw(st.floats(-50, 90))])
        x0, y0 = window_offsets(centre, (h, w), (frame_h, frame_w)).tolist()
        assert 0 <= x0 <= frame_w - w and 0 <= y0 <= frame_h - h
        if w / 2 + 1 <= centre[0] <= frame_w - w / 2 - 1:
            assert abs(x0 + w / 2 - centre[0]) <= 0.5
        if h / 2 + 1 <= centre[1] <= frame_h - h / 2 - 1:
            assert abs(y0 + h / 2 - centre[1]) <= 0.5

    def test_shapes(self) -> None:
        offsets = window_offsets(np.zeros((4, 5, 2), np.float32), (2, 2), (4, 4))
        assert offsets.shape == (4, 5, 2) and offsets.dtype == np.int64
        assert window_offsets(np.zeros((0, 2)), (2, 2), (4, 4)).shape == (0, 2)

    def test_cut(self) -> None:
        frames = torch.arange(2 * 3 * 6 * 7.0).reshape(2, 3, 6, 7)
        offsets = np.array([[0, 1], [3, 2]])
        out = cut_windows(frames, offsets, (4, 2))
        torch.testing.assert_close(out[0], frames[0, :, 1:5, 0:2])
        torch.testing.assert_close(out[1], frames[1, :, 2:6, 3:5])
        out.zero_()
        assert frames.any()
        with pytest.raises(ValueError):
            cut_windows(frames, offsets[:1], (4, 2))

    def test_a_point_keeps_its_value_in_its_window(self) -> None:
        frames = torch.rand(1, 3, 20, 30)
        point = np.array([[17.3, 9.8]])
        offsets = window_offsets(point, (8, 8), (20, 30))
        window = cut_windows(frames, offsets, (8, 8))
        inner = torch.from_numpy(point - offsets).float()[None]
        torch.testing.assert_close(sample(window, inner), sample(frames, torch.from_numpy(point).float()[None]))


def test_inside_has_edges() -> None:
    xy = np.array([[0, 0], [4, 3], [-0.01, 1], [4.01, 1], [1, -0.01], [1, 3.01], [np.nan, 1]])
    assert inside(xy, (3, 4)).tolist() == [True, True, False, False, False, False, False]
    assert inside(np.zeros((0, 5, 2)), (3, 4)).shape == (0, 5)


class TestToTorch:
    @pytest.mark.parametrize(
        "frames",
        [np.zeros((4, 5, 3), np.uint8), np.zeros((2, 4, 5, 4), np.uint8), np.zeros((2, 4, 5, 3), np.float32)],
    )
    def test_bad(self, frames: np.ndarray) -> None:
        with pytest.raises(ShapeError, match="uint8"):
            to_torch(frames)

    def test_values(self) -> None:
        frames = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
        tensor = to_torch(frames[:, ::-1])
        assert tensor.dtype == torch.float32 and tensor.shape == (2, 3, 4, 5)
        np.testing.assert_array_equal(tensor.numpy(), frames[:, ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255)
        assert to_torch(np.zeros((0, 4, 5, 3), np.uint8)).shape == (0, 3, 4, 5)


def test_whole_numbers_scale_too():
    points = [[10, 20], [3, 5]]
    np.testing.assert_allclose(scale_points(np.array(points), (40, 40), (20, 10)), [[2.5, 10], [0.75, 2.5]])
    np.testing.assert_allclose(scale_points(torch.tensor(points), (40, 40), (20, 10)), [[2.5, 10], [0.75, 2.5]])
