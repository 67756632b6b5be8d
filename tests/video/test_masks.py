"""trackime.video.masks: masks in and out of files."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.errors import FormatError, InputError, OutputError, ShapeError
from trackime.video import masks as maskio


def write_image(path, image):
    assert cv2.imwrite(str(path), image)


def test_read_mask_refuses(tmp_path):
    path = tmp_path / "m.png"
    with pytest.raises(FormatError, match="no such mask"):
        maskio.read_mask(path)
    path.write_bytes(b"not a png")
    with pytest.raises(FormatError, match="expected a mask image"):
        maskio.read_mask(path)
    write_image(path, np.array([[0, 1], [2, 0]], np.uint8))
    with pytest.raises(FormatError, match="2 or more values without a palette"):
        maskio.read_mask(path)
    write_image(path, np.array([[[0, 0, 255], [0, 255, 0]]], np.uint8))
    with pytest.raises(FormatError, match="without a palette"):
        maskio.read_mask(path)
    write_image(path, np.array([[[0, 0, 255, 255], [0, 0, 0, 9]]], np.uint8))
    with pytest.raises(FormatError, match="opaque"):
        maskio.read_mask(path)
    maskio.write_mask(path, np.ones((64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(FormatError, match="expected a mask image"):
        maskio.read_mask(path)


@pytest.mark.parametrize(
    "image",
    [
        np.array([[0, 255], [255, 0]], np.uint8),
        np.array([[0, 1], [1, 0]], np.uint8),
        np.array([[0, 900], [900, 0]], np.uint16),
        np.array([[[0, 0, 0], [0, 0, 128]], [[0, 0, 128], [0, 0, 0]]], np.uint8),
        np.array([[[0, 0, 0, 255], [9, 8, 7, 255]], [[9, 8, 7, 255], [0, 0, 0, 255]]], np.uint8),
    ],
    ids=["white", "one", "16-bit", "colour", "opaque"],
)
def test_one_value_is_object_one(image, tmp_path):
    write_image(tmp_path / "m.png", image)
    mask = maskio.read_mask(tmp_path / "m.png")
    assert mask.dtype == np.uint8 and mask.tolist() == [[0, 1], [1, 0]]


def test_an_empty_mask_is_a_mask(tmp_path):
    write_image(tmp_path / "m.png", np.zeros((3, 4), np.uint8))
    assert not maskio.read_mask(tmp_path / "m.png").any()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), h=st.integers(1, 20), w=st.integers(1, 20))
def test_masks_come_back(tmp_path_factory, seed, h, w):
    path = tmp_path_factory.mktemp("masks") / "m.png"
    mask = np.random.default_rng(seed).integers(0, 256, (h, w), np.uint8)
    maskio.write_mask(path, mask)
    np.testing.assert_array_equal(maskio.read_mask(path), mask)
    # What a program that knows no palettes sees: the palette's colours (cv2 has them as BGR).
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], maskio._palette()[mask])


def test_palette_is_that_of_davis():
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 8: (64, 0, 0), 255: (224, 224, 192)}
    assert {k: tuple(maskio._palette()[k].tolist()) for k in known} == known


def test_palettes_of_few_colours_are_ids_too(tmp_path):
    # A PNG of 1 bit an index, as optimisers write them.
    raw = zlib.compress(b"\x00\x40")

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 1, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", bytes(6)), (b"IDAT", raw), (b"IEND", b"")]
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in parts))
    assert maskio.read_mask(tmp_path / "m.png").tolist() == [[0, 1]]


def test_write_mask_refuses(tmp_path):
    with pytest.raises(ShapeError, match=r"\[H, W\]"):
        maskio.write_mask(tmp_path / "m.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ShapeError, match="not empty"):
        maskio.write_mask(tmp_path / "m.png", np.zeros((0, 2), np.uint8))
    for values in ([[-1]], [[256]], [[0.5]]):
        with pytest.raises(InputError, match=r"whole numbers in 0 \.\. 255"):
            maskio.write_mask(tmp_path / "m.png", values)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        maskio.write_mask(tmp_path / "file" / "m.png", [[1]])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
