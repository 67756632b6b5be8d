"""Masks as run lengths, polygons, mattes and files of other tools; each against a slow reading written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trackime.errors import InputError, ShapeError, UnknownNameError
from trackime.progress import Report
from trackime.types import Queries, Tracks, VideoInfo
from trackime.video import open_video
from trackime_apps.commands.vos import _FORMATS as OFFERED
from trackime_apps.vos import Segmentation
from trackime_apps.vos._export import FORMATS, export
from trackime_apps.vos._export import _rle as encode
from trackime_apps.vos._matte import colours, soften
from trackime_apps.vos._polygons import area, joined, outlines


def slow_decode(text: str, height: int, width: int) -> np.ndarray:
    """COCO's compressed counts, a character and a pixel at a time."""
    counts: list[int] = []
    place = value = 0
    for character in text:
        code = ord(character) - 48
        assert 0 <= code < 64
        value |= (code & 31) << (5 * place)
        place += 1
        if not code & 32:
            if code & 16:
                value -= 1 << (5 * place)
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            place = value = 0
    assert place == 0 and sum(counts) == height * width
    mask = np.zeros((height, width), bool)
    at, on = 0, False
    for count in counts:
        for pixel in range(at, at + count):
            mask[pixel % height, pixel // height] = on
        at, on = at + count, not on
    return mask


def slow_fill(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels whose centres lie in a polygon [K, 2] by the even-odd rule."""
    mask = np.zeros((height, width), bool)
    y, x = np.mgrid[:height, :width] + 0.5
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if y0 != y1:
            mask ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return mask


def shapes() -> list[np.ndarray]:
    """Empty, full, single pixels, a ring, parts that touch at corners, noise."""
    rng = np.random.default_rng(0)
    ring = np.zeros((9, 12), bool)
    ring[1:8, 2:10], ring[3:6, 4:8], ring[4, 5] = True, False, True
    corner = np.zeros((4, 4), bool)
    corner[:2, :2] = corner[2:, 2:] = True
    one = np.zeros((3, 5), bool)
    one[2, 4] = True
    noise = [rng.random((int(h), int(w))) < p for h, w, p in zip([1, 7, 13, 30], [9, 1, 17, 21], [0.5, 0.4, 0.2, 0.8])]  # noqa: B905
    return [np.zeros((4, 6), bool), np.ones((4, 6), bool), np.ones((1, 1), bool), one, ring, corner, *noise]


class TestRle:
    @pytest.mark.parametrize("mask", shapes())
    def test_against_the_slow_decoder_and_back(self, mask: np.ndarray) -> None:
        rle = encode(mask)
        assert rle["size"] == list(mask.shape) and json.loads(json.dumps(rle)) == rle
        assert (slow_decode(rle["counts"], *mask.shape) == mask).all()

    def test_long_runs(self) -> None:
        mask = np.zeros((700, 1100), bool)
        mask[:, 500:900] = True
        mask[3, 100] = mask[699, 1099] = True
        rle = encode(mask)
        assert (slow_decode(rle["counts"], *mask.shape) == mask).all()

    def test_a_published_line(self) -> None:
        """The example of the description of MOTS, a car in frame 52: 283 pixels of 375 x 1242."""
        text = "WSV:2d;1O10000O10000O1O100O100O1O100O1000000000000000O100O102N5K00O1O1N2O110OO2O001O1NTga3"
        mask = slow_decode(text, 375, 1242)
        assert encode(mask)["counts"] == text and mask.sum() == 283


class TestPolygons:
    def test_bad_and_empty(self) -> None:
        with pytest.raises(ShapeError, match="mask"):
            outlines(np.zeros(4))
        assert outlines(np.zeros((3, 4))) == [] and joined([]).shape == (0, 2)

    def test_one_pixel(self) -> None:
        mask = np.zeros((3, 5), bool)
        mask[1, 2] = True
        loop = outlines(mask)[0].tolist()
        start = loop.index([2, 1])
        assert loop[start:] + loop[:start] == [[2, 1], [3, 1], [3, 2], [2, 2]]  # clockwise on the screen

    @pytest.mark.parametrize("mask", shapes())
    def test_outlines_and_the_joined_polygon_cover_the_mask(self, mask: np.ndarray) -> None:
        loops = outlines(mask)
        assert sum(area(loop) for loop in loops) == mask.sum()
        filled = np.zeros(mask.shape, bool)
        for loop in loops:
            filled ^= slow_fill(loop, *mask.shape)
            assert ((np.roll(loop, -1, 0) != loop).sum(1) == 1).all()  # along one axis at a time
        assert (filled == mask).all()
        polygon = joined(loops)
        assert (slow_fill(polygon, *mask.shape) == mask).all() and area(polygon) == mask.sum()

    def test_parts_and_holes_are_counted(self) -> None:
        ring = shapes()[4]
        assert [np.sign(area(loop)) for loop in outlines(ring)] == [1, -1, 1]
        assert len(outlines(shapes()[5])) == 2


class TestMatte:
    def scene(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A red disc over a blue wall, mixed at its border: frame, true alpha, mask."""
        y, x = np.mgrid[:80, :100] + 0.5
        alpha = np.clip(25.5 - np.hypot(x - 50, y - 40), 0, 1)[..., None].astype(np.float32)
        alpha = cv2.GaussianBlur(alpha, (0, 0), 1.0)[..., None]
        frame = alpha * np.array([220.0, 40, 30]) + (1 - alpha) * np.array([20.0, 60, 200])
        return np.round(frame).astype(np.uint8), alpha[..., 0], alpha[..., 0] > 0.5

    def test_bad_input(self) -> None:
        frame, alpha, mask = self.scene()
        with pytest.raises(ShapeError, match="frame"):
            soften(mask, frame[1:])
        with pytest.raises(ShapeError, match="alpha"):
            colours(frame, alpha[1:])

    def test_empty_and_full(self) -> None:
        frame, _, mask = self.scene()
        assert (soften(np.zeros_like(mask), frame) == 0).all() and (soften(np.ones_like(mask), frame) == 1).all()
        assert (colours(frame, np.zeros(mask.shape, np.float32)) == 0).all()
        assert (colours(frame, np.ones(mask.shape, np.float32)) == frame).all()

    def test_soft_only_near_the_border_and_nearer_the_truth_than_the_mask(self) -> None:
        frame, truth, mask = self.scene()
        alpha = soften(mask, frame, band=3)
        far = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) == cv2.erode(mask.astype(np.uint8), np.ones((9, 9)))
        assert alpha.dtype == np.float32 and (alpha[far] == mask[far]).all()
        assert abs(alpha - truth).sum() < 0.7 * abs(mask - truth).sum()

    @pytest.mark.parametrize("grown", [1, -1])
    def test_a_mask_that_is_a_pixel_off_is_mended(self, grown: int) -> None:
        frame, truth, mask = self.scene()
        change = cv2.dilate if grown > 0 else cv2.erode
        wrong = change(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert abs(soften(wrong, frame, band=3) - truth).sum() < 0.5 * abs(wrong - truth).sum()

    def test_where_colours_do_not_differ_the_mask_is_antialiased(self) -> None:
        _, _, mask = self.scene()
        alpha = soften(mask, np.full((*mask.shape, 3), 90, np.uint8))
        assert abs(alpha - mask).max() < 0.7 and 0.9 < alpha.sum() / mask.sum() < 1.1
        assert ((alpha > 0.05) & (alpha < 0.95)).any()

    def test_the_background_is_taken_out_of_border_colours(self) -> None:
        frame, alpha, _ = self.scene()
        found = colours(frame, alpha, radius=6).astype(float)
        border = (alpha > 0.2) & (alpha < 0.95)
        error = abs(found[border] - [220, 40, 30]).mean()
        assert error < 0.25 * abs(frame[border] - np.array([220.0, 40, 30])).mean()
        assert (found[alpha == 0] == 0).all()


H, W, T = 20, 30, 4


@pytest.fixture
def film() -> tuple[np.ndarray, np.ndarray]:
    """Frames, and ids of two objects: 3 with a hole and a part of its own, 7 gone in the last frame."""
    ids = np.zeros((T, H, W), np.uint8)
    for t in range(T):
        ids[t, 2:10, 2 + t : 12 + t], ids[t, 4:6, 5 + t : 8 + t], ids[t, 15:18, 1:4] = 3, 0, 3
        ids[t, 8:16, 20:28] = 7 if t < 3 else 0
    frames = np.random.default_rng(0).integers(0, 30, (T, H, W, 3), dtype=np.uint8) + 40 * (ids > 0)[..., None]
    return frames.astype(np.uint8), ids


def _found(ids: Any, objects: tuple[int, ...], confidence: np.ndarray) -> Segmentation:
    tracks = Tracks(np.zeros((0, T, 2)), np.zeros((0, T)), Queries(np.zeros((0, 3))), VideoInfo.regular(W, H, T))
    return Segmentation(objects, ids, confidence, tracks, {})


@pytest.fixture
def written(film: Any, tmp_path: Path) -> Path:
    frames, ids = film
    confidence = np.linspace(0, 1, 2 * T, dtype=np.float32).reshape(T, 2)
    export(tmp_path, list(FORMATS), open_video(frames), _found(ids, (3, 7), confidence), chunk=3)
    return tmp_path


class TestExport:
    def test_bad_input(self, film: Any, tmp_path: Path) -> None:
        frames, ids = film
        video, sure = open_video(frames), np.ones((T, 1), np.float32)
        with pytest.raises(UnknownNameError, match="unknown format 'gif': expected one of coco"):
            export(tmp_path, ["coco", "gif"], video, _found(ids, (3,), sure))
        with pytest.raises(InputError, match="4 frames, 1 objects"):
            export(tmp_path, ["coco"], video, _found(ids[:2], (3,), sure))
        with pytest.raises(InputError, match="confidences"):
            export(tmp_path, ["coco"], video, _found(ids, (3,), sure[:2]))
        with pytest.raises(InputError, match=r"masks\[0\]: expected 30x20"):
            export(tmp_path, ["coco", "yolo", "rgba"], video, _found(ids[:, :5], (3,), sure))
        assert list(tmp_path.iterdir()) == []  # nothing half-made

    def test_what_is_offered_is_what_there_is(self) -> None:
        assert set(OFFERED) == set(FORMATS)

    def test_no_objects_and_none_asked_for(self, film: Any, tmp_path: Path) -> None:
        frames, ids = film
        export(tmp_path, [], open_video(frames), _found(ids, (3,), np.ones((T, 1), np.float32)))
        assert list(tmp_path.iterdir()) == []
        export(tmp_path, list(FORMATS), open_video(frames), _found(0 * ids, (3,), np.ones((T, 1), np.float32)))
        assert json.loads((tmp_path / "coco.json").read_text())["annotations"] == []
        assert (tmp_path / "mots.txt").read_text() == ""
        assert len(list((tmp_path / "rgba-objects" / "3").iterdir())) == T

    def test_coco(self, written: Path, film: Any) -> None:
        got = json.loads((written / "coco.json").read_text())
        assert [image["frame_index"] for image in got["images"]] == list(range(T))
        assert got["images"][1] == {
            "id": 2, "video_id": 1, "frame_index": 1, "file_name": "00001.png", "width": W, "height": H,
        }  # fmt: skip
        assert [a["id"] for a in got["annotations"]] == list(range(1, 2 * T))
        assert [t["id"] for t in got["tracks"]] == [3, 7] and got["categories"][0]["id"] == 1
        again = np.zeros((T, H, W), np.uint8)
        for a in got["annotations"]:
            mask = slow_decode(a["segmentation"]["counts"], *a["segmentation"]["size"])
            again[a["image_id"] - 1][mask] = a["track_id"]
            rows, columns = np.nonzero(mask)
            assert a["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert a["area"] == mask.sum() and a["iscrowd"] == 0 and a["video_id"] == 1 and a["category_id"] == 1
        assert (again == film[1]).all()
        assert got["annotations"][2]["score"] == pytest.approx(2 / 7, abs=1e-4)

    def test_coco_names_the_files_of_a_folder(self, film: Any, tmp_path: Path) -> None:
        frames, ids = film
        (tmp_path / "shots").mkdir()
        for t in range(T):
            cv2.imwrite(str(tmp_path / "shots" / f"s{t}.jpg"), frames[t])
        export(tmp_path, ["coco"], open_video(tmp_path / "shots"), _found(ids, (3,), np.ones((T, 1), np.float32)))
        got = json.loads((tmp_path / "coco.json").read_text())
        assert [image["file_name"] for image in got["images"]] == [f"s{t}.jpg" for t in range(T)]
        assert got["videos"][0]["name"] == "shots" and got["videos"][0]["length"] == T

    def test_mots(self, written: Path, film: Any) -> None:
        again = np.zeros((T, H, W), np.uint8)
        for line in (written / "mots.txt").read_text().splitlines():
            t, identity, kind, height, width, text = line.split(" ")
            assert int(identity) // 1000 == int(kind) == 1
            again[int(t)][slow_decode(text, int(height), int(width))] = int(identity) % 1000
        assert (again == film[1]).all()

    def test_yolo(self, written: Path, film: Any) -> None:
        names = (written / "yolo" / "classes.txt").read_text().splitlines()
        assert (names[0], names[3], names[4], names[7]) == ("background", "object_3", "unused", "object_7")
        for t in range(T):
            lines = (written / "yolo" / "labels" / f"{t:05d}.txt").read_text().splitlines()
            assert len(lines) == (2 if t < 3 else 1)  # one an object, whatever its parts
            again = np.zeros((H, W), np.uint8)
            for line in lines:
                identity, *values = line.split(" ")
                xy = np.array(values, float).reshape(-1, 2)
                assert (xy >= 0).all() and (xy <= 1).all()
                again[slow_fill(xy * [W, H], H, W)] = int(identity)
            assert (again == film[1][t]).all()

    def test_rgba(self, written: Path, film: Any) -> None:
        frames, ids = film
        for t in range(T):
            whole = cv2.imread(str(written / "rgba" / f"{t:05d}.png"), cv2.IMREAD_UNCHANGED)
            alone = {k: cv2.imread(str(written / "rgba-objects" / f"{k}" / f"{t:05d}.png"), -1) for k in (3, 7)}
            assert whole.shape == (H, W, 4) and alone[3].shape == (H, W, 4)
            for picture, mask in ((whole, ids[t] > 0), *((alone[k], ids[t] == k) for k in (3, 7))):
                core = cv2.erode(mask.astype(np.uint8), np.ones((5, 5)), borderValue=0) > 0
                off = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) == 0
                assert (picture[..., 3][core] == 255).all() and (picture[off] == 0).all()
                assert (picture[..., 2::-1][core] == frames[t][core]).all()

    def test_a_frame_name_is_kept(self, film: Any, tmp_path: Path) -> None:
        frames, ids = film
        video = open_video(frames[:2])
        video.info = VideoInfo(W, H, np.array([0.0, 0.04]), ("a b", "ü"))
        export(tmp_path, ["yolo"], video, _found(ids[:2], (3,), np.ones((2, 1), np.float32)))
        assert sorted(p.name for p in (tmp_path / "yolo" / "labels").iterdir()) == ["a b.txt", "ü.txt"]

    def test_masks_are_read_once_in_order(self, film: Any, tmp_path: Path) -> None:
        frames, ids = film
        asked = []

        class Lazy(list[Any]):
            def __getitem__(self, t: Any) -> Any:
                asked.append(t)
                return super().__getitem__(t)

        told: list[Any] = []
        sure = np.ones((T, 2), np.float32)
        report = Report(lambda *a: told.append(a))
        export(tmp_path, ["coco", "mots"], open_video(frames), _found(Lazy(ids), (3, 7), sure), progress=report)
        assert asked == [0, 1, 2, 3] and told[-1] == ("export", T, T)
