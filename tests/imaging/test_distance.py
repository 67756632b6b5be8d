"""Signed distance, against scipy's exact transform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from trackime.imaging import signed_distance


def disc(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] + 0.5 - size / 2
    return np.asarray(x**2 + y**2 < radius**2)


def test_sign_and_distance() -> None:
    mask = disc(30, 8)
    distance = signed_distance(mask)
    assert ((distance > 0) == mask).all() and distance[15, 15] == pytest.approx(7.5, abs=1)


def test_within_three_hundredths_of_the_exact_one() -> None:
    mask = disc(200, 50)
    exact = np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - distance_transform_edt(~mask))
    np.testing.assert_allclose(signed_distance(mask), exact, rtol=0.03, atol=0.02)


@pytest.mark.parametrize("full", [False, True])
def test_without_a_border(full: bool) -> None:
    assert (signed_distance(np.full((3, 4), full)) == (5 if full else -5)).all()
