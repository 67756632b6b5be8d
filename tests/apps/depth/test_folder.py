"""A folder of depth maps to start from: what may be wrong with it, every format, what is unknown."""

from __future__ import annotations

import logging
import math
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trackime.errors import FormatError, InputError, MissingExtraError, TrackimeError
from trackime.types import VideoInfo
from trackime_apps.depth.source import _folder as start_folder
from trackime_apps.depth.source._readers import READERS, SINTEL_TAG, read_map


def info_of(width: int = 80, height: int = 60, count: int = 3) -> VideoInfo:
    return VideoInfo.regular(width, height, count)


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
    with pytest.raises(InputError, match=r"expected one map per frame, got 00001.npy and 00001.pfm"):
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
    (tmp_path / "e.dpt").write_bytes(struct.pack("<fii", SINTEL_TAG, 3, 2) + bytes(8))
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
    "dpt": lambda path, v: path.write_bytes(struct.pack("<fii", SINTEL_TAG, 40, 30) + v.astype("<f4").tobytes()),
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
        assert maps.frame(t)[1].all()


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
            depth, measured = maps.depth(0), maps.frame(0)[1]
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
