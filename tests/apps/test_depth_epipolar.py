"""A pair of frames in which OpenCV finds no geometry at all says nothing, rather than end the run."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from trackime_apps.depth.movers import epipolar


@pytest.mark.parametrize("name", ["findFundamentalMat", "findHomography"])
def test_no_geometry_is_none(name, monkeypatch):
    a = np.random.default_rng(0).uniform(0, 64, (60, 2))
    b = a + np.array([3, 1])
    assert epipolar.geometry(a, b, 64, 48) is not None

    def fail(*_):
        raise cv2.error("(-215:Assertion failed) !model.empty()")

    monkeypatch.setattr(cv2, name, fail)
    assert epipolar.geometry(a, b, 64, 48) is None
