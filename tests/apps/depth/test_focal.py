"""The focal length that is given: by a number, an angle, a file of intrinsics."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from trackime.errors import FormatError, InputError
from trackime.types import VideoInfo
from trackime_apps.depth import focal

INFO = VideoInfo.regular(80, 60, 3)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((500.0, 60.0, None), "--focal and --fov: expected one of them"),
        ((None, 60.0, Path("k.txt")), "--fov and --intrinsics: expected one of them"),
        ((0.0, None, None), "--focal: expected a number of pixels above 0, got 0"),
        ((math.nan, None, None), "--focal: expected a number of pixels above 0, got nan"),
        ((None, 180.0, None), "--fov: expected degrees above 0 and below 180, got 180"),
        ((None, -5.0, None), "--fov: expected degrees"),
        ((None, None, Path("/none.json")), "--intrinsics: expected a file, found no /none.json"),
    ],
)
def test_bad_focal_options(options: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        focal.resolve_focal(*options, INFO)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "got"),
        ("hello", "got"),
        ("1 2\n3 4", "expected a matrix"),
        ("500 0 40\n0 500 30\n0 0 2", "expected a matrix"),
        ("{", "expected intrinsics.json, a 3x3 matrix"),
        ("{}", "expected a camera, got none"),
        ('{"focal": []}', "expected a camera, got none"),
        ('{"focal": [500, 600]}', "expected one camera for the whole video, got 2 that differ"),
        ('{"focal": -1}', "expected focal lengths above 0"),
        ('{"focal": "long"}', "expected intrinsics.json"),
        ('{"focal": 100, "width": 100, "height": 60}', "expected a camera of 80x60 frames, got 100x60"),
        ('{"camera_angle_x": 1}', "expected fl_x, or camera_angle_x with w"),
        ('{"fl_x": 100, "camera_model": "OPENCV_FISHEYE"}', "camera_model: expected OPENCV or PINHOLE"),
        ("1 OPENCV_FISHEYE 80 60 1 1 1 1 0 0 0 0", "expected ID MODEL WIDTH HEIGHT PARAMS of SIMPLE_PINHOLE"),
        ("1 PINHOLE 80 60 100 100 40", "expected ID MODEL"),
        ("1 PINHOLE 80 60 100 100 40 30\n2 PINHOLE 80 60 120 120 40 30", "got 2 that differ"),
        ("100 0 60\n0 100 30\n0 0 1", "the principal point is (+20, +0) px off the centre of 80x60 frames"),
        ("100 0 40\n0 150 30\n0 0 1", "expected square pixels, got fx 100 and fy 150"),
    ],
)
def test_bad_intrinsics(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "camera"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        focal.resolve_focal(None, None, path, INFO)
    assert told in str(caught.value) and "\n" not in str(caught.value) and str(path) in str(caught.value)


NERF = {"fl_x": 100, "fl_y": 100, "cx": 40, "cy": 30, "w": 80, "h": 60, "camera_model": "OPENCV"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"focal": 100, "cx": 40, "cy": 30, "width": 80, "height": 60}', 100),
        ('{"model": "PINHOLE", "width": 80, "height": 60, "fx": 100, "fy": 100, "cx": 40, "cy": 30}', 100),
        ('{"focal": [100, 100.01], "width": 160, "height": 120}', 50),
        (json.dumps(NERF | {"frames": []}), 100),
        (json.dumps({"frames": [NERF, NERF]}), 100),
        (json.dumps({"camera_angle_x": math.pi / 2, "w": 160, "h": 120}), 40),
        ("100 0 39.5\n0 100 29.5\n0 0 1", 100),
        ("100, 0, 39.5\n0, 100, 29.5\n0, 0, 1", 100),
        ("100 0 39.5 0 100 29.5 0 0 1", 100),
        ("100 0 39.5 0\n0 100 29.5 0\n0 0 1 0\n0 0 0 1", 100),
        ("# cameras\n#  a: b\n1 SIMPLE_PINHOLE 80 60 100 40 30\n", 100),
        ("1 PINHOLE 160 120 200 200 80 60", 100),
    ],
)
def test_intrinsics(tmp_path: Path, text: str, expected: float, caplog: pytest.LogCaptureFixture) -> None:
    """And no word of warning: the centre of all of them is that of the frame."""
    path = tmp_path / "camera"
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert focal.resolve_focal(None, None, path, INFO) == pytest.approx(expected, rel=1e-6)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("100 0 42.5\n0 100 29.5\n0 0 1", "the principal point is (+3, +0) px off the centre"),
        ("100 0 39.5\n0 104 29.5\n0 0 1", "fx 100 and fy 104: their mean is used"),
        ("1 SIMPLE_RADIAL 80 60 100 40 30 0.1", "lens distortion is not modelled"),
    ],
)
def test_intrinsics_that_are_warned_of(tmp_path: Path, text: str, told: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "camera"
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert focal.resolve_focal(None, None, path, INFO) == pytest.approx(100, rel=0.03)
    assert len(caplog.messages) == 1 and told in caplog.messages[0]


def test_focal_by_number_and_angle() -> None:
    assert focal.resolve_focal(None, None, None, INFO) is None
    assert focal.resolve_focal(123.0, None, None, INFO) == 123
    assert focal.resolve_focal(None, 90.0, None, INFO) == pytest.approx(40)
