"""Where depth starts: networks of one frame, folders of maps, and the focal length that is given."""

from __future__ import annotations

import json
import logging
import math
import pickle
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trackime import models
from trackime.checkpoints import CHECKPOINTS
from trackime.errors import (
    DeviceError,
    DownloadError,
    FormatError,
    InputError,
    MissingExtraError,
    TrackimeError,
    UnknownNameError,
)
from trackime.types import VideoInfo
from trackime.video import Video, open_video
from trackime_apps import doctor
from trackime_apps.depth import focal
from trackime_apps.depth.maps import DepthMaps
from trackime_apps.depth.source import folder as start_folder
from trackime_apps.depth.source import models as start_models
from trackime_apps.depth.source.prepare import Recipe
from trackime_apps.depth.source.readers import READERS, SINTEL, read_map

WIDTH, HEIGHT, FRAMES = 80, 60, 5


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """uint8 [T, H, W, 3], smooth, each frame another picture."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 255, (FRAMES, 6, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(c, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for c in coarse])


@pytest.fixture
def video(frames: np.ndarray) -> Video:
    return open_video(frames)


def info_of(width: int = WIDTH, height: int = HEIGHT, count: int = 3) -> VideoInfo:
    return VideoInfo.regular(width, height, count)


# ---- a folder: bad input


def fill(folder: Path, maps: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, values in maps.items():
        np.save(folder / f"{name}.npy", values)
    return folder


GOOD = np.linspace(1, 2, 30 * 40, dtype=np.float32).reshape(30, 40)


@pytest.mark.parametrize(
    ("maps", "kind", "error", "told"),
    [
        ({}, None, InputError, "expected depth maps (npz, npy, png, exr, pfm, dpt), found none"),
        ({"00000": GOOD, "00001": GOOD}, None, InputError, "expected a map of every frame, none for '00002'"),
        ({"00001": GOOD}, None, InputError, "none for '00000' and 1 more"),
        ({"a": GOOD, "b": GOOD}, None, InputError, "named after the 3 frames ('00000', ...) or as many of them, got 2"),
        ({"a": GOOD, "b": GOOD * 0, "c": GOOD}, None, FormatError, "b.npy: expected positive numbers, got zeros only"),
        ({"a": GOOD, "b": GOOD, "c": -GOOD}, None, FormatError, "c.npy: expected positive numbers, got none above 0"),
        ({"a": GOOD * np.nan, "b": GOOD, "c": GOOD}, None, FormatError, "a.npy: expected positive numbers, got NaN"),
        ({"a": GOOD, "b": GOOD[:, :30], "c": GOOD}, None, FormatError, "shape of the frames (80x60), got 30x30"),
        (
            {"a": GOOD, "b": GOOD, "c": GOOD[0]},
            None,
            FormatError,
            "expected one map [h, w], got an array of shape [40]",
        ),
        ({"a": GOOD, "b": GOOD, "c": GOOD}, "height", InputError, "--depth-kind: expected depth, disparity, metric"),
    ],
)
def test_bad_folders(tmp_path: Path, maps: Any, kind: str | None, error: type, told: str) -> None:
    folder = fill(tmp_path / "in", maps)
    with pytest.raises(error) as caught:
        start_folder.take(folder, info_of(), tmp_path / "out", kind=kind)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_bad_options_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--depth-folder: expected a folder of depth maps, found no "):
        start_folder.take(tmp_path / "none", info_of(), tmp_path / "out")
    folder = fill(tmp_path / "in", {"00000": GOOD, "00001": GOOD, "00002": GOOD})
    for scale in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match="--depth-scale: expected a number above 0"):
            start_folder.take(folder, info_of(), tmp_path / "out", scale=scale)
    shutil.copy(folder / "00001.npy", folder / "00001.pfm")
    with pytest.raises(InputError, match=r"expected one map a frame, got 00001.npy and 00001.pfm"):
        start_folder.take(folder, info_of(), tmp_path / "out")
    (folder / "00001.pfm").unlink()
    for sidecar, told in (
        ("{", "expected a json with scale and unit"),
        ('{"scale": 0, "unit": "metre"}', "scale: expected a number above 0, got 0"),
        ('{"scale": 1, "unit": "mm"}', "unit: expected relative or metre, got 'mm'"),
    ):
        (folder / "scale.json").write_text(sidecar)
        with pytest.raises(FormatError, match=told):
            start_folder.take(folder, info_of(), tmp_path / "out")
    (folder / "scale.json").write_text('{"scale": 1, "unit": "relative"}')
    with pytest.raises(InputError, match=r"--depth-kind metric: .*scale.json says that its maps are relative"):
        start_folder.take(folder, info_of(), tmp_path / "out", kind="metric")


def png(values: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", values)[1].tobytes())


def test_png_of_metres_needs_a_scale(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.full((60, 80), 1500, np.uint16)))
    with pytest.raises(InputError, match="expected how many metres a step of its pngs is"):
        start_folder.take(tmp_path, info_of(count=1), tmp_path / "out", kind="metric")
    maps = start_folder.take(tmp_path, info_of(count=1), tmp_path / "out", kind="metric", scale=0.001)
    assert maps.metric and np.allclose(maps.depth(0), 1.5)


@pytest.mark.parametrize("suffix", sorted(READERS))
@pytest.mark.parametrize("data", [b"", b"abc", b"Pf\n2 2\n-1\nabc", b"\x93NUMPY", b"PK\x03\x04" + bytes(40)])
def test_files_that_are_none(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    with pytest.raises(TrackimeError) as caught:
        read_map(path)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, FormatError) or "trackime[exr]" in str(caught.value)


def test_files_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(FormatError, match="expected a 16-bit grey png, got 8 bits and 3 channels"):
        read_map(tmp_path / "a.png")
    np.savez(tmp_path / "b.npz", left=GOOD, right=GOOD)
    with pytest.raises(FormatError, match="expected an array called depth, or one array, got left, right"):
        read_map(tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="allow_pickle"):
        read_map(tmp_path / "c.npy")
    np.save(tmp_path / "d.npy", np.array([["a"]]))
    with pytest.raises(FormatError, match="expected numbers"):
        read_map(tmp_path / "d.npy")
    (tmp_path / "e.dpt").write_bytes(struct.pack("<fii", SINTEL, 3, 2) + bytes(8))
    with pytest.raises(FormatError, match="expected 3x2 numbers of 4 bytes, got 8 bytes"):
        read_map(tmp_path / "e.dpt")


def test_exr_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.exr").write_bytes(b"v/1\x01")
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises((MissingExtraError, FormatError), match=r"trackime\[exr\]"):
        read_map(tmp_path / "a.exr")


# ---- a folder: every format


def write_exr(path: Path, values: np.ndarray) -> None:
    exr = pytest.importorskip("OpenEXR")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    with exr.File(header, {"Z": values, "A": np.ones_like(values)}) as file:
        file.write(str(path))


WRITERS: dict[str, Any] = {
    "npy": np.save,
    "npz": lambda path, v: np.savez(path, depth=v, other=v * 2),
    "sole.npz": lambda path, v: np.savez(path, whatever=v[None]),
    "png": lambda path, v: path.write_bytes(png(np.round(v * 1000).astype(np.uint16))),
    "pfm": lambda path, v: path.write_bytes(b"Pf\n40 30\n-1.0\n" + v[::-1].astype("<f4").tobytes()),
    "big.pfm": lambda path, v: path.write_bytes(b"Pf\n40 30\n1.0\n" + v[::-1].astype(">f4").tobytes()),
    "dpt": lambda path, v: path.write_bytes(struct.pack("<fii", SINTEL, 40, 30) + v.astype("<f4").tobytes()),
    "exr": write_exr,
}


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_every_format(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for t in (9, 10, 11):  # natural order: 9 first
        WRITERS[kind](folder / f"depth_{t}.{kind.split('.')[-1]}", np.ascontiguousarray(GOOD * t))
    scale = 0.001 if kind == "png" else None
    maps = start_folder.take(folder, info_of(), tmp_path / "out", scale=scale)
    assert (maps.disparity, maps.metric) == (False, False)
    for t in range(3):
        np.testing.assert_allclose(maps.depth(t), GOOD * (9 + t), atol=5.1e-4 if kind == "png" else 0)
        assert maps.measured(t).all()


def test_names_come_before_order_and_sidecars_count(tmp_path: Path) -> None:
    """All frames have a file of their name, one more is there, and the sidecar beside the folder says metres."""
    folder = fill(tmp_path / "in", {f"{t:05d}": GOOD * (t + 1) for t in range(4)} | {"-1": GOOD})
    (folder / "transforms.json").write_text('{"scale": 3}')  # of something else
    (tmp_path / "in.json").write_text('{"scale": 0.5, "unit": "metre"}')
    told: list[tuple[str, int, int]] = []
    maps = start_folder.take(folder, info_of(), tmp_path / "out", progress=lambda *step: told.append(step))
    assert maps.metric and not maps.disparity
    np.testing.assert_array_equal(maps.depth(2), GOOD * 1.5)
    assert told == [("depth", t + 1, 3) for t in range(3)]


def test_what_is_unknown_stays_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values, seen = GOOD.copy(), np.ones(GOOD.shape, bool)
    values[0, :4] = 0, np.nan, np.inf, -1
    seen[1, 0] = False
    np.savez(tmp_path / "a.npz", depth=values, measured=seen, confidence=values)
    with caplog.at_level(logging.WARNING):
        for kind in ("depth", "disparity"):
            maps = start_folder.take(tmp_path, info_of(count=1), tmp_path / kind, kind=kind)
            assert maps.disparity == (kind == "disparity")
            depth, measured = maps.depth(0), maps.measured(0)
            assert (depth[0, :4] == 0).all() and not measured[0, :4].any()
            assert not measured[1, 0] and measured.sum() == 30 * 40 - 5
            expected = GOOD if kind == "depth" else 1 / GOOD
            np.testing.assert_allclose(depth[1:], expected[1:], rtol=1e-6)
    assert caplog.messages == [f"{tmp_path}: 1 of 1 maps hold NaN: taken as unknown"] * 2


def test_a_folder_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "in", {f"{t:05d}": GOOD for t in range(3)})
    start_folder.take(folder, info_of(), tmp_path / "out")
    monkeypatch.setattr(start_folder, "read_map", None)
    assert start_folder.take(folder, info_of(), tmp_path / "out").depth(1).shape == (30, 40)


@pytest.mark.parametrize(("size", "good"), [((518, 291), True), ((1920, 1080), True), ((384, 384), False)])
def test_shapes_that_pass(size: tuple[int, int], good: bool) -> None:
    values, info = np.ones(size[::-1], np.float32), info_of(1280, 720)
    if good:
        start_folder.check_shape(Path("a"), values, info)
    else:
        with pytest.raises(FormatError, match="expected a map of the shape of the frames"):
            start_folder.check_shape(Path("a"), values, info)


# ---- the focal length


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
        focal.given(*options, info_of())


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
        focal.given(None, None, path, info_of())
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
        assert focal.given(None, None, path, info_of()) == pytest.approx(expected, rel=1e-6)
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
        assert focal.given(None, None, path, info_of()) == pytest.approx(100, rel=0.03)
    assert len(caplog.messages) == 1 and told in caplog.messages[0]


def test_focal_by_number_and_angle() -> None:
    assert focal.given(None, None, None, info_of()) is None
    assert focal.given(123.0, None, None, info_of()) == 123
    assert focal.given(None, 90.0, None, info_of()) == pytest.approx(40)


# ---- preparing frames


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"size": {"shortest_edge": 518}}, "expected a size with height and width"),
        ({"size": "large"}, "expected a size with height and width"),
        ({"size": 0}, "size: expected a whole number of 1 .. 8192, got 0"),
        ({"ensure_multiple_of": 1.5}, "ensure_multiple_of: expected a whole number"),
        ({"resample": 0}, "resample: expected 2 (bilinear) or 3 (bicubic), got 0"),
        ({"image_mean": [0.5]}, "image_mean: expected three numbers"),
        ({"image_std": [0.5, 0.5, 0]}, "image_std: expected three positive numbers"),
        ({"do_normalize": False}, "expected do_normalize to be true"),
        ({"rescale_factor": 1.0}, "expected a rescale_factor of 1/255"),
        ({"do_pad": True, "size_divisor": 32}, "expected no padding to multiples"),
    ],
)
def test_bad_settings_of_preparation(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(FormatError) as caught:
        Recipe((518, 518)).overlaid(settings, "here")
    assert str(caught.value).startswith("here") and told in str(caught.value)


SIZES = [(60, 80), (37, 91), (120, 50), (64, 96), (300, 40)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["depth_anything", "dpt", "zoedepth"])
def test_frames_are_prepared_as_transformers_does(kind: str, size: tuple[int, int]) -> None:
    """To the bit where Pillow resizes; ZoeDepth's own processor works in float64 up to a rounding."""
    transformers = pytest.importorskip("transformers")
    name = "ZoeDepthImageProcessor" if kind == "zoedepth" else "DPTImageProcessor"
    processor = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)  # Pil: since version 5
    recipe = start_models.FAMILIES[kind].recipe
    settings: dict[str, Any] = {
        "size": {"height": recipe.size[0], "width": recipe.size[1]},
        "keep_aspect_ratio": recipe.keep_aspect,
        "ensure_multiple_of": recipe.multiple,
        "resample": recipe.resample,
        "image_mean": list(recipe.mean),
        "image_std": list(recipe.std),
    }
    if kind == "zoedepth":
        settings["do_pad"] = True
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    theirs = processor(**settings)(images=[image], return_tensors="np")["pixel_values"]
    ours = recipe.overlaid(settings, "here").images(image[None]).numpy()
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-6 if kind == "zoedepth" else 0)


@pytest.mark.parametrize("kind", ["depth_anything", "dpt", "zoedepth"])
@pytest.mark.parametrize("size", [(60, 80), (130, 170)])
def test_maps_come_back_over_what_was_seen(kind: str, size: tuple[int, int]) -> None:
    """A network that gives its own input: a ramp comes back as the ramp, in the middle of pixels of any size."""
    recipe = start_models.FAMILIES[kind].recipe
    height, width = size
    y, x = np.mgrid[:height, :width] + 0.5
    frame = np.stack([x / width * 250, y / height * 250, 0 * x], -1).astype(np.uint8)
    seen = recipe.images(frame[None])[0] * torch.tensor(recipe.std)[:, None, None]
    seen = (seen + torch.tensor(recipe.mean)[:, None, None]) * 255
    for axis in (0, 1):
        back = recipe.over_frame(seen[axis][None], height, width)[0].numpy()
        h, w = back.shape
        assert abs(h * width - w * height) <= max(height, width)
        expected = ((np.arange(w) + 0.5) / w, (np.arange(h)[:, None] + 0.5) / h)[axis] * 250 - 0.5  # bytes cut off
        inside = np.abs(back - expected)[h // 8 : -h // 8, w // 8 : -w // 8]
        assert inside.max() < 1.5  # half a pixel off would be 1.6 at least


@pytest.mark.parametrize("margin", [False, True])
def test_maps_come_back_as_by_plain_resizing(margin: bool) -> None:
    """At the frame's own resolution: torch's interpolation, and for ZoeDepth the margins cut off."""
    maps = torch.rand(2, 200, 260)
    recipe = Recipe((200, 260), corners=margin, pad=margin)
    rows, columns = recipe.margins(90, 120)
    assert (rows, columns) == ((20, 23) if margin else (0, 0))
    whole = F.interpolate(maps[None], (90 + 2 * rows, 120 + 2 * columns), mode="bilinear", align_corners=margin)[0]
    expected = whole[:, rows : rows + 90, columns : columns + 120]
    torch.testing.assert_close(recipe.over_frame(maps, 90, 120), expected, atol=5e-5, rtol=0)


# ---- networks


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("transformers")
    from tests.apps import depth_models

    base = tmp_path_factory.mktemp("models")
    return {
        "anything": depth_models.depth_anything(base / "anything"),
        "metric": depth_models.depth_anything(base / "metric", metric=True),
        "zoe": depth_models.zoedepth(base / "zoe"),
        "zoe two": depth_models.zoedepth(base / "zoe two", heads=2),
        "dpt": depth_models.dpt(base / "dpt"),
        "hybrid": depth_models.dpt(base / "hybrid", hybrid=True),
    }


def answer(maps: DepthMaps, t: int) -> np.ndarray:
    """What the network said of frame t: its small disparities are large depths, and so are their roundings."""
    return 1 / maps.depth(t) if maps.disparity else maps.depth(t)


KINDS = ["anything", "metric", "zoe", "zoe two", "dpt", "hybrid"]


def test_names_are_in_the_registry() -> None:
    assert start_models.names()[0] == "depth-anything-v2-small"
    licences = {name: CHECKPOINTS[name].licence for name in start_models.names()}
    assert licences["depth-anything-v2-small"] == "Apache-2.0" and licences["zoedepth"] == "MIT"
    assert all(("base" in n or ("large" in n and "dpt" not in n)) == ("-NC" in v) for n, v in licences.items())


def test_unknown_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: Video) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UnknownNameError, match="unknown depth model 'midas': expected one of depth-anything-v2-small"):
        start_models.DepthModel("midas", "cpu")
    with pytest.raises(InputError, match=r"expected a folder with config.json and model.safetensors, found no "):
        start_models.DepthModel(str(tmp_path / "none"), "cpu")
    monkeypatch.setenv("TRACKIME_HOME", str(tmp_path))
    monkeypatch.setenv("TRACKIME_OFFLINE", "1")
    with pytest.raises(DownloadError, match="zoedepth is not here: run 'trackime-apps models fetch zoedepth'"):
        start_models.DepthModel("zoedepth", "cpu")
    with pytest.raises(InputError, match="batch: expected 1 frame or more, got 0"):
        start_models.estimate(video, tmp_path / "maps", "zoedepth", batch=0)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"zoedepth .* pip install 'trackime\[models\]'"):
        start_models.DepthModel("zoedepth", "cpu")


def test_a_network_by_name(saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files put there by hand are as good as fetched ones: found by name, checked, and tried by `doctor`."""
    monkeypatch.setenv("TRACKIME_HOME", str(tmp_path))
    name = "depth-anything-v2-small"
    (before,) = (f for f in doctor._depth_models("cpu") if f.name == name)
    assert before.state == doctor.MISSING and f"trackime-apps models fetch {name}" in before.detail
    assert models.place(name) == tmp_path / "models" / name
    shutil.copytree(saved["anything"], models.place(name))
    assert models.state(name) == models.UNCHECKED
    (finding,) = (f for f in doctor._depth_models("cpu") if f.name == name)
    assert finding.state == doctor.GOOD and "disparity 0." in finding.detail
    assert models.state(name) == models.verify(name) == models.FETCHED
    (models.place(name) / "model.safetensors").write_bytes(b"changed")
    (finding,) = (f for f in doctor._depth_models("cpu") if f.name == name)
    assert finding.state == doctor.BAD and "is not the file that was first seen" in finding.detail


def broken(saved: dict[str, Path], target: Path, kind: str, change: str) -> None:
    shutil.copytree(saved[kind], target)
    config, prepare = target / "config.json", target / "preprocessor_config.json"
    if change == "no config":
        config.unlink()
    elif change == "pickle":
        (target / "model.safetensors").unlink()
        (target / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    elif change == "cut":
        (target / "model.safetensors").write_bytes((target / "model.safetensors").read_bytes()[:2000])
    elif change == "preprocessor":
        prepare.write_text("[")
    elif change == "not square":
        prepare.write_text('{"size": {"height": 64, "width": 96}}')
    else:
        values = json.loads(config.read_text())
        if change == "type":
            values["model_type"] = "sam"
        elif change == "timm":
            values["backbone_config"] = {"model_type": "timm_backbone", "backbone": "resnet18"}
        elif change == "backbone":
            values["backbone"] = "facebook/dinov2-base"
        elif change == "size":
            values["fusion_hidden_size"] = 16
        config.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("anything", "no config", "expected a config.json"),
        ("anything", "pickle", "expected model.safetensors"),
        ("anything", "cut", "cannot be loaded"),
        ("anything", "preprocessor", "expected a preprocessor_config.json"),
        ("anything", "type", "expected a model of type depth_anything or zoedepth or dpt"),
        ("anything", "timm", "expected a backbone_config of dinov2, beit, bit, swin, swinv2, got a backbone 'timm"),
        ("anything", "backbone", "expected a backbone_config of dinov2, beit, bit, swin, swinv2, got backbone"),
        ("anything", "size", "do not fit|cannot be loaded"),
        ("dpt", "not square", "expected square images for DPT"),
    ],
)
def test_broken_folders(saved: dict[str, Path], tmp_path: Path, kind: str, change: str, told: str) -> None:
    broken(saved, tmp_path / "model", kind, change)
    with pytest.raises(FormatError, match=told) as caught:
        start_models.DepthModel(str(tmp_path / "model"), "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_those_of_transformers(saved: dict[str, Path], tmp_path: Path, video: Video, kind: str) -> None:
    """Its processor's images through its network, and the answer resized by torch: disparity, or metres."""
    transformers = pytest.importorskip("transformers")
    model = start_models.DepthModel(str(saved[kind]), "cpu")
    assert (model.disparity, model.metric) == ((False, True) if kind in ("metric", "zoe", "zoe two") else (True, False))
    network = transformers.AutoModelForDepthEstimation.from_pretrained(saved[kind]).eval()
    frames = video.read(0, FRAMES)
    with torch.no_grad():
        theirs = network(pixel_values=model.recipe.images(frames)).predicted_depth
    maps = start_models.estimate(video, tmp_path / "maps", str(saved[kind]), device="cpu", batch=2)
    assert (maps.disparity, maps.metric) == (model.disparity, model.metric)
    for t in range(FRAMES):
        expected = model.recipe.over_frame(theirs[t][None], HEIGHT, WIDTH)[0].numpy()
        assert expected.shape == maps.depth(t).shape and expected.std() > 0
        known = expected > (expected.max() / start_models.FARTHEST if maps.disparity else 0)
        np.testing.assert_allclose(answer(maps, t)[known], expected[known], rtol=2e-4, atol=1e-5)
        assert (maps.measured(t) == known).all()
    rows = np.abs(maps.depth(0) - maps.depth(1))
    assert rows.max() > 1e-3  # the picture matters


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_what_is_there_already(
    saved: dict[str, Path], tmp_path: Path, video: Video, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    model, told = str(saved[kind]), []
    one = start_models.estimate(video, tmp_path / "one", model, device="cpu", batch=1)
    whole = start_models.estimate(
        video, tmp_path / "whole", model, device="cpu", batch=8, progress=lambda *step: told.append(step)
    )
    assert told == [("depth", FRAMES, FRAMES)]
    for t in range(FRAMES):
        np.testing.assert_allclose(answer(one, t), answer(whole, t), rtol=1e-4, atol=1e-5)
    before = answer(whole, 3)
    for t in (1, 3):
        (tmp_path / "whole" / f"{t:05d}.npz").unlink()
    seen: list[int] = []
    predict = start_models.DepthModel.predict
    monkeypatch.setattr(start_models.DepthModel, "predict", lambda self, f: seen.append(len(f)) or predict(self, f))
    start_models.estimate(video, tmp_path / "whole", model, device="cpu", batch=8)
    assert seen == [2]
    np.testing.assert_allclose(answer(whole, 3), before, rtol=1e-4, atol=1e-5)


def test_one_head_of_zoedepth_for_the_whole_video(saved: dict[str, Path], tmp_path: Path, video: Video) -> None:
    """Frames that disagree on the head: transformers takes the vote of a batch, here all are of one scale."""
    transformers = pytest.importorskip("transformers")
    network = transformers.AutoModelForDepthEstimation.from_pretrained(saved["zoe two"]).eval()
    prepare = start_models.DepthModel(str(saved["zoe two"]), "cpu").recipe.images
    frames = prepare(video.read(0, FRAMES))
    last = [m for m in network.metric_head.mlp_classifier.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        logits = network(pixel_values=frames).domain_logits
        last.bias[0] -= (logits[:, 0] - logits[:, 1]).sort().values[1:3].mean()  # two frames against three
        folder = tmp_path / "model"
        network.save_pretrained(folder)
        shutil.copy(saved["zoe two"] / "preprocessor_config.json", folder)
        logits = network(pixel_values=frames).domain_logits
        together = network(pixel_values=frames).predicted_depth
        alone = torch.cat([network(pixel_values=f[None]).predicted_depth for f in frames])
    assert len(logits.argmax(1).unique()) == 2 and (together - alone).abs().max() > 1e-2 * together.mean()
    maps = start_models.estimate(video, tmp_path / "maps", str(folder), device="cpu", batch=1)
    recipe = start_models.DepthModel(str(folder), "cpu").recipe
    for t in range(FRAMES):
        expected = recipe.over_frame(together[t][None], HEIGHT, WIDTH)[0].numpy()
        np.testing.assert_allclose(maps.depth(t), expected, rtol=2e-4)


class Stand:
    """In place of a network: disparity that is the frame's red, in the batches it has memory for."""

    def __init__(self, room: int = 99, disparity: bool = True) -> None:
        self.room, self.disparity, self.metric, self.votes = room, disparity, not disparity, False
        self.device, self.seen = torch.device("cpu"), list[int]()

    def predict(self, frames: np.ndarray) -> np.ndarray:
        self.seen.append(len(frames))
        if len(frames) > self.room:
            raise torch.OutOfMemoryError("no room")
        return frames[..., 0].astype(np.float32)


def estimate_by(stand: Stand, video: Video, folder: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> DepthMaps:
    monkeypatch.setattr(start_models, "DepthModel", lambda model, device: stand)
    return start_models.estimate(video, folder, "stand", batch=batch)


def test_out_of_memory(tmp_path: Path, video: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand(room=1)
    maps = estimate_by(stand, video, tmp_path / "maps", monkeypatch, 4)
    assert stand.seen == [4, 2, 1, 1, 1, 1, 1] and all(t in maps for t in range(FRAMES))
    with pytest.raises(DeviceError, match="out of memory on one frame of 80x60 by stand on cpu"):
        estimate_by(Stand(room=0), video, tmp_path / "none", monkeypatch, 4)


def test_the_sky_is_far_and_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.full((1, 4, 6, 3), 200, np.uint8)
    frames[0, :2] = 0
    maps = estimate_by(Stand(), open_video(frames), tmp_path / "a", monkeypatch, 1)
    np.testing.assert_allclose(maps.depth(0)[:2], start_models.FARTHEST / 200)
    np.testing.assert_allclose(maps.depth(0)[2:], 1 / 200)
    assert not maps.measured(0)[:2].any() and maps.measured(0)[2:].all()
    metric = estimate_by(Stand(disparity=False), open_video(frames), tmp_path / "b", monkeypatch, 1)
    assert (metric.depth(0)[:2] == 0).all() and (metric.depth(0)[2:] == 200).all()
    with pytest.raises(FormatError, match="stand: frame 0: expected positive numbers of it, got none"):
        estimate_by(Stand(), open_video(frames * 0), tmp_path / "c", monkeypatch, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_gives_the_same(saved: dict[str, Path], tmp_path: Path, video: Video, kind: str) -> None:
    here = start_models.estimate(video, tmp_path / "a", str(saved[kind]), device="cpu")
    there = start_models.estimate(video, tmp_path / "b", str(saved[kind]), device="cuda")
    for t in range(FRAMES):
        np.testing.assert_allclose(answer(here, t), answer(there, t), rtol=1e-2, atol=1e-3)
