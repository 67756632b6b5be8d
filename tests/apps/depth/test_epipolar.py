"""A pair of frames in which OpenCV finds no geometry at all says nothing, rather than end the run."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from trackime.types import RaggedTracks
from trackime_apps.depth.movers import _epipolar as epipolar
from trackime_apps.depth.movers import movers


@pytest.mark.parametrize("name", ["findFundamentalMat", "findHomography"])
def test_no_geometry_says_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV 5 raises where every sample is degenerate."""
    a = np.random.default_rng(0).uniform(0, 64, (60, 2))
    b = a + np.array([3, 1])

    def fail(*_: object) -> None:
        raise cv2.error("(-215:Assertion failed) !model.empty()")

    monkeypatch.setattr(cv2, name, fail)
    found = epipolar.geometry(a, b, 64, 48)
    assert found is not None
    failed, other = found.fundamental, found.homography
    if name == "findHomography":
        failed, other = other, failed
    assert np.isinf(failed).all() and np.isfinite(other).all()
    frame, xy = np.tile([0, 1], 60), np.stack([a, b], 1).reshape(-1, 2)
    tracks = RaggedTracks(2, np.arange(0, 121, 2), frame, xy, np.full(120, 0.1), np.full(60, -1))
    assert movers.find(tracks, 64, 48).static.all()
