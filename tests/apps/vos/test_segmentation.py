"""The library's face: `trackime_apps.segment`, prompts of every kind, results that are saved and read back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import trackime_apps
from trackime.errors import FormatError, InputError, OutputError, ShapeError, VideoError
from trackime.segmenters import PointSegmenter
from trackime.types import Queries, Tracks
from trackime.video import Video, open_video
from trackime_apps.vos import MaskFiles, Prompts, Segmentation, VosConfig, correct, load
from trackime_apps.vos import _prompted as prompted
from trackime_apps.vos._prompted import PointPrompter, PromptPoints
from trackime_apps.vos.masks import PackedMasks

H, W, T = 40, 56, 5


def _frames() -> np.ndarray:
    """A red box that moves 2 px a frame to the right before a grey wall."""
    video = np.random.default_rng(0).integers(80, 100, (T, H, W, 3), dtype=np.uint8)
    for t in range(T):
        video[t, 10:26, 8 + 2 * t : 24 + 2 * t, 0] += 120
    return video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    folder.mkdir()
    for t, frame in enumerate(_frames()):
        cv2.imwrite(str(folder / f"{t:05d}.png"), frame[..., ::-1])
    return folder


@pytest.fixture
def box() -> np.ndarray:
    """The box's mask in frame 0, object 3."""
    ids = np.zeros((H, W), np.uint8)
    ids[10:26, 8:24] = 3
    return ids


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Video]:
    """The videos that `segment` and `correct` open."""
    videos: list[Video] = []

    def remember(source: Any) -> Video:
        videos.append(open_video(source))
        return videos[-1]

    for module in ("run", "_correct"):
        monkeypatch.setattr(f"trackime_apps.vos.{module}.open_video", remember)
    return videos


def _segment(video: Any, prompts: Any, **more: Any) -> Segmentation:
    return trackime_apps.segment(video, prompts, tracker="lk", device="cpu", **more)


def _closed(video: Video) -> bool:
    try:
        video.read(0, 1)
    except VideoError:
        return True
    return False


class TestPackage:
    def test_importing_is_cheap(self) -> None:
        code = "import sys, trackime_apps; print([m for m in ('torch', 'cv2', 'numpy', 'click') if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "[]", done.stderr

    def test_the_applications_are_functions(self) -> None:
        assert set(dir(trackime_apps)) >= {"segment", "interpolate", "depth"} == set(trackime_apps.__all__)
        assert callable(trackime_apps.segment) and callable(trackime_apps.interpolate)
        with pytest.raises(AttributeError, match="nothing"):
            _ = trackime_apps.nothing  # type: ignore[attr-defined]


class TestFiveLines:
    def test_follow_look_and_save(self, clip: Path, box: np.ndarray, tmp_path: Path) -> None:
        found = _segment(clip, box)
        assert found.objects == (3,) and found.video.frames == len(found) == T and found.prompted == {3: [0]}
        truth = np.zeros((H, W), bool)
        truth[10:26, 16:32] = True
        mask = found.ids[4] == 3
        assert (mask & truth).sum() / (mask | truth).sum() > 0.8
        found.save(tmp_path / "out")
        names = sorted(p.name for p in (tmp_path / "out").iterdir())
        assert names == ["confidence.csv", "frames.csv", "masks", "prompts.json", "tracks.npz"]
        again = load(tmp_path / "out")
        assert isinstance(again.ids, MaskFiles) and all(
            (a == b).all() for a, b in zip(found.ids, again.ids, strict=True)
        )
        assert (again.objects, again.prompted) == (found.objects, found.prompted)
        assert again.confidence == pytest.approx(found.confidence, abs=5e-5) and again.confidence.shape == (T, 1)
        assert (again.tracks.xy == found.tracks.xy).all() and again.video.names == found.video.names

    def test_what_is_there_is_replaced_and_other_files_stay(self, clip: Path, box: np.ndarray, tmp_path: Path) -> None:
        found, out = _segment(clip, box), tmp_path / "out"
        (out / "masks").mkdir(parents=True)
        (out / "masks" / "old.png").write_text("")
        (out / "notes.txt").write_text("mine")
        found.save(out)
        assert len(list((out / "masks").iterdir())) == T and (out / "notes.txt").read_text() == "mine"

    def test_a_save_that_fails_leaves_nothing(
        self, clip: Path, box: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        found = _segment(clip, box)
        monkeypatch.setattr(Tracks, "save", full)
        with pytest.raises(OutputError, match="No space left"):
            found.save(tmp_path / "out")
        assert [p.name for p in tmp_path.iterdir()] == ["clip"]

    @pytest.mark.parametrize("gone", ["tracks.npz", "prompts.json", "confidence.csv", "masks/00002.png"])
    def test_a_folder_that_is_not_whole(self, clip: Path, box: np.ndarray, tmp_path: Path, gone: str) -> None:
        _segment(clip, box).save(tmp_path / "out")
        (tmp_path / "out" / gone).unlink()
        with pytest.raises(FormatError, match=Path(gone).name):
            load(tmp_path / "out")

    def test_a_saved_result_can_be_corrected(self, clip: Path, box: np.ndarray, tmp_path: Path) -> None:
        box[:, 16:] = 0
        _segment(clip, box).save(tmp_path / "out")
        before = load(tmp_path / "out")
        after = correct(clip, before, Queries([(24.5, 18.5, 2)], np.array([3])), tracker="lk", device="cpu")
        assert after.ids[2][18, 24] == 3 and after.prompted == {3: [0, 2]}
        after.save(tmp_path / "better")
        assert all((a == b).all() for a, b in zip(after.ids, load(tmp_path / "better").ids, strict=True))


class TestPrompts:
    def test_every_kind(self, box: np.ndarray) -> None:
        clicks = Queries([(9.5, 9.5, 1)], np.array([3]))
        whole = Prompts({0: box}, clicks, np.array([0]))
        assert Prompts.of(whole) is whole and whole.first == {3: 0} and whole.by_object() == {3: [0, 1]}
        assert Prompts.of(box).first == Prompts.of({0: box}).first == {3: 0}
        assert Prompts.of(box > 0).objects == (1,) and Prompts.of({2: box}).first == {3: 2}
        assert Prompts.of(clicks).first == {3: 1} and whole.prompted(1) == [3] and whole.prompted(2) == []

    @pytest.mark.parametrize(
        ("given", "error", "words"),
        [
            ("mask.png", InputError, "prompts: expected Prompts, Queries, a mask"),
            (np.zeros((2, 3, 4), np.uint8), ShapeError, r"mask of frame 0: .*\[H, W\]"),
            (np.full((3, 4), 300), InputError, "0 .. 255, got int64 300 .. 300"),
            (np.full((3, 4), 0.5), InputError, "whole ids"),
            (Queries([(1, 1, 0)], np.array([300])), InputError, "1 .. 254, got 300"),
        ],
    )
    def test_bad_ones_are_one_line(self, given: Any, error: Any, words: str) -> None:
        with pytest.raises(error, match=words) as caught:
            Prompts.of(given)
        assert "\n" not in str(caught.value)


class TestClosing:
    def test_what_was_opened_is_closed(self, clip: Path, box: np.ndarray, opened: list[Video]) -> None:
        found = _segment(clip, box)
        correct(clip, found, Queries([(12.5, 18.5, 2)], np.array([3])), tracker="lk", device="cpu")
        with pytest.raises(ShapeError):
            _segment(clip, box[1:])
        assert len(opened) == 3 and all(_closed(video) for video in opened)

    def test_the_callers_video_stays_open(self, clip: Path, box: np.ndarray) -> None:
        with open_video(clip) as video:
            found = _segment(video, box)
            correct(video, found, Queries([(12.5, 18.5, 2)], np.array([3])), tracker="lk", device="cpu")
            assert not _closed(video)


@pytest.mark.parametrize("label", [1, 0])
@pytest.mark.parametrize("xy", [(W, 18.0), (30.0, H), (W, H)])
def test_clicks_on_the_right_and_lower_edge(clip: Path, box: np.ndarray, xy: tuple[float, float], label: int) -> None:
    found = _segment(clip, box)
    prompts = Prompts(points=Queries([(*xy, 2)], np.array([3])), labels=np.array([label]))
    after = correct(clip, found, prompts, tracker="lk", device="cpu")
    row, column = min(int(xy[1]), H - 1), min(int(xy[0]), W - 1)
    assert (after.ids[2][row, column] == 3) == bool(label)


class TestPackedMasks:
    @pytest.mark.parametrize("shape", [(1, 1), (1, 7), (13, 17)])
    def test_back_as_they_were(self, shape: tuple[int, int]) -> None:
        rng, packed = np.random.default_rng(0), PackedMasks()
        masks = [np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), rng.integers(0, 4, shape, dtype=np.uint8)]
        for ids in masks:
            packed.append(ids)
        assert len(packed) == 3 and all((a == b).all() for a, b in zip(packed, masks, strict=True))
        assert packed[-1].flags.writeable


class _Discs(PointSegmenter):
    """A disc around each prompt's first point, its score by the point's place; the most masks decoded at once."""

    name = "discs"
    most = 0

    def encode(self, frame: torch.Tensor) -> Any:
        return frame.shape[-2:]

    def decode(self, embedding: Any, points: Any, labels: Any, boxes: Any = None, prior: Any = None) -> Any:
        self.most = max(self.most, len(points))
        y, x = np.mgrid[: embedding[0], : embedding[1]] + 0.5
        centre = points[:, 0].numpy()
        distance = np.hypot(x - centre[:, :1, None], y - centre[:, 1:, None])
        return torch.from_numpy(9.0 - distance).float(), torch.from_numpy(0.5 + 0.01 * centre[:, 0])


class TestEachPoint:
    def _slow(self, discs: _Discs, about: PromptPoints) -> np.ndarray:
        """All points at once, as the definition has it."""
        logits, score = discs.decode((H, W), torch.from_numpy(about.on[:, None]).float(), None)
        votes = 1 / (1 + np.exp(-np.clip(logits.numpy(), -30, 30)))
        weights = about.weights * score.numpy() + 1e-6
        mean = np.average(votes, axis=0, weights=weights)

        def iou(a: np.ndarray, b: np.ndarray) -> float:
            return float((a & b).sum() / max(1, (a | b).sum()))

        agree = np.array([iou(vote > 0.5, mean > 0.5) for vote in votes]) > 0.5
        return np.average(votes[agree], axis=0, weights=weights[agree]) if agree.any() else mean

    @pytest.mark.parametrize("block", [1, 3, 100])
    def test_blocks_change_nothing(self, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = np.random.default_rng(0)
        near = PromptPoints(rng.uniform(18, 22, (7, 2)), rng.uniform(0.6, 1, 7), np.zeros((0, 2)), None)
        mixed = PromptPoints(np.r_[near.on, [[50.0, 5.0]]], np.r_[near.weights, 0.9], np.zeros((0, 2)), None)
        apart = PromptPoints(np.array([[8.0, 8.0], [48.0, 8], [8, 34], [48, 34]]), np.ones(4), np.zeros((0, 2)), None)
        monkeypatch.setattr(prompted, "BLOCK", block * H * W)
        discs = _Discs()
        objects = {1: near, 2: mixed, 5: apart}
        found = PointPrompter(discs, VosConfig(prompts="each").prompts).predict(np.zeros((H, W, 3), np.uint8), objects)
        assert discs.most == min(block, 19) and list(found) == [1, 2, 5]
        for k, about in objects.items():
            share = np.clip(self._slow(discs, about), 1e-3, 1 - 1e-3)
            assert found[k].logits == pytest.approx(np.log(share / (1 - share)), abs=1e-4)
