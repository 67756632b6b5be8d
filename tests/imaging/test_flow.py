"""Dense optical flow, warping, the forward-backward error."""

from __future__ import annotations

import cv2
import numpy as np

from trackime.imaging import (
    MIN_FLOW_SIDE,
    DenseFlow,
    flow_magnitude,
    forward_backward_error,
    lands_inside,
    warp_backward,
)

H, W = 72, 96


def view(x: float, y: float) -> np.ndarray:
    """A texture [H, W, 3] moved by (x, y) pixels."""
    noise = np.random.default_rng(0).uniform(0, 255, (160, 220, 3)).astype(np.float32)
    fine, coarse = cv2.GaussianBlur(noise, (0, 0), 1.5), cv2.GaussianBlur(noise, (0, 0), 6)
    texture = np.clip((fine - 127) * 3 + (coarse - 127) * 8 + 127, 0, 255).astype(np.uint8)
    shift = np.array([[1, 0, 30 - x], [0, 1, 30 - y]], np.float32)
    return cv2.warpAffine(texture, shift, (W, H), flags=cv2.WARP_INVERSE_MAP | cv2.INTER_CUBIC)


def constant(x: float, y: float = 0.0) -> np.ndarray:
    return np.broadcast_to(np.array([x, y], np.float32), (H, W, 2)).copy()


def test_magnitude() -> None:
    np.testing.assert_allclose(flow_magnitude(constant(3, -4)), 5)


def test_a_frame_too_small_has_no_flow() -> None:
    small = np.zeros((MIN_FLOW_SIDE - 1, 40), np.uint8)
    assert not DenseFlow()(small, small).any()


def test_finds_a_shift_and_starts_from_a_given_flow() -> None:
    a, b = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (view(0, 0), view(3.5, -2)))
    found = DenseFlow()(a, b)
    assert np.abs(found[10:-10, 10:-10] - [3.5, -2]).mean() < 0.15
    begun = constant(3.5, -2)
    again = DenseFlow()(a, b, begun)
    assert np.abs(again[10:-10, 10:-10] - [3.5, -2]).mean() < 0.15
    np.testing.assert_array_equal(begun, constant(3.5, -2))  # OpenCV writes to its argument, a copy


def test_warping_is_bilinear_and_repeats_edges() -> None:
    image = np.arange(H * W, dtype=np.float32).reshape(H, W)
    warped = warp_backward(image, constant(0.5, 1))
    np.testing.assert_allclose(warped[:-1, :-1], (image[1:, :-1] + image[1:, 1:]) / 2, atol=0.5)
    assert warped[-1, -1] == image[-1, -1]


def test_forward_backward_error() -> None:
    assert forward_backward_error(constant(2), constant(-2)).max() == 0
    np.testing.assert_allclose(forward_backward_error(constant(2), constant(1, 4)), 5)


def test_lands_inside() -> None:
    inside = lands_inside(constant(2.5, -1))
    assert inside[1:, : W - 2].all() and not inside[0].any() and not inside[:, W - 2 :].any()
