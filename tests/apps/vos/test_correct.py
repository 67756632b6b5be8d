"""Corrections of a segmentation by clicks, as a library and on the command line."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trackime.errors import InputError, ShapeError
from trackime.trackers import create
from trackime.types import Queries
from trackime.video import read_mask, write_mask
from trackime.worlds import World, make_world
from trackime_apps.cli import main
from trackime_apps.vos import EditedMasks, Prompts, Segmentation, VosConfig, correct, sample_mask, segment


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(seed=3, width=160, height=120, frames=16, objects=2, occlusion=1.0, size=(0.3, 0.5))


def _finished(world: World, masks: dict[int, np.ndarray]) -> Segmentation:
    return segment(world.video, masks, tracker="lk", device="cpu")


def _half(world: World) -> np.ndarray:
    """The first mask without the left half of object 1."""
    ids = np.array(world.masks[0])
    x = np.nonzero(ids == 1)[1]
    ids[(ids == 1) & (np.arange(ids.shape[1]) < np.median(x))] = 0
    return ids


@pytest.fixture(scope="module")
def halved(world: World) -> Segmentation:
    return _finished(world, {0: _half(world)})


def _innermost(mask: np.ndarray) -> tuple[float, float]:
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return x + 0.5, y + 0.5


def _click(mask: np.ndarray, t: int, k: int) -> Queries:
    return Queries([(*_innermost(mask), t)], np.array([k]))


def _iou(world: World, masks: Any, k: int) -> np.ndarray:
    pairs = [(np.asarray(a) == k, np.asarray(b) == k) for a, b in zip(world.masks, masks, strict=True)]
    return np.array([(a & b).sum() / max(1, (a | b).sum()) for a, b in pairs])


class TestCorrect:
    t = 4

    def _mend(self, world: World, before: Segmentation, **more: Any) -> Segmentation:
        missing = (np.asarray(world.masks[self.t]) == 1) & (before.ids[self.t] != 1)
        return correct(world.video, before, _click(missing, self.t, 1), tracker="lk", device="cpu", **more)

    def test_one_click_mends_both_directions(self, world: World, halved: Segmentation) -> None:
        after = self._mend(world, halved)
        assert isinstance(after.ids, EditedMasks) and self.t in after.ids.changed
        before, now = _iou(world, halved.ids, 1), _iou(world, after.ids, 1)
        # Left alone the object is found by itself a few frames on; the click mends what was before.
        assert before[1:3].max() < 0.85 and now[1 : self.t + 1].min() > 0.88
        assert (now > before - 0.05).all()
        # The first mask was given: it stands, right or wrong.
        assert 0 not in after.ids.changed and after.prompted[1] == [0, self.t]
        assert after.confidence[self.t, 0] == 1 and after.confidence.shape == halved.confidence.shape

    def test_ends_where_nothing_changes(self, world: World) -> None:
        right = _finished(world, {0: np.asarray(world.masks[0])})
        click = _click(np.asarray(world.masks[self.t]) == 2, self.t, 2)
        after = correct(world.video, right, click, tracker="lk", device="cpu")
        assert isinstance(after.ids, EditedMasks)
        # The clicked frame is right as it was, and what follows from it soon is, too.
        assert self.t not in after.ids.changed and all(abs(t - self.t) <= 6 for t in after.ids.changed)
        assert (_iou(world, after.ids, 2) > _iou(world, right.ids, 2) - 0.06).all()

    def test_tracks_are_reused(self, world: World, halved: Segmentation) -> None:
        seen = []
        tracker = create("lk", device="cpu")
        inner = tracker.encode

        def encode(frames: Any) -> Any:
            seen.append(frames.shape[1])
            return inner(frames)

        tracker.encode = encode  # type: ignore[method-assign]
        stated = {1: [0, 6], 2: [0, 6]}
        before = replace(halved, prompted=stated)
        missing = (np.asarray(world.masks[self.t]) == 1) & (before.ids[self.t] != 1)
        config = VosConfig(reseed=0)
        after = correct(world.video, before, _click(missing, self.t, 1), tracker=tracker, config=config, device="cpu")
        old = len(halved.tracks)
        assert len(after.tracks) > old and np.array_equal(after.tracks.xy[:old], halved.tracks.xy)
        # Between the stated frames 0 and 6 alone, and nothing but there is mended.
        assert set(seen) == {5} or max(seen) <= 5
        assert isinstance(after.ids, EditedMasks) and set(after.ids.changed) <= {1, 2, 3, 4, 5}
        new = after.tracks.visibility[old:]
        assert not new[:, 6:].any() and not new[:, 0].any() and new[:, self.t].all()

    def test_click_off_takes_away(self, world: World) -> None:
        ids = np.array(world.masks[0])
        ids[:30, :50][ids[:30, :50] == 0] = 1  # a piece of the background
        wrong = _finished(world, {0: ids})
        t = 2
        extra = (wrong.ids[t] == 1) & (np.asarray(world.masks[t]) != 1)
        assert extra.sum() > 300
        click = _click(extra, t, 1)
        after = correct(world.video, wrong, Prompts(points=click, labels=np.array([0])), tracker="lk", device="cpu")
        x, y = np.floor(click.xy[0]).astype(int)
        assert after.ids[t][y, x] != 1
        assert _iou(world, after.ids, 1)[t:].mean() > _iou(world, wrong.ids, 1)[t:].mean() + 0.05

    def test_new_object(self, world: World) -> None:
        first = np.where(np.asarray(world.masks[0]) == 1, 1, 0).astype(np.uint8)
        one = _finished(world, {0: first})
        xy = sample_mask(np.asarray(world.masks[self.t]) == 2, 5, "k-medoids")
        clicks = Queries(np.c_[xy, np.full(5, self.t)], np.full(5, 2))
        after = correct(world.video, one, clicks, tracker="lk", device="cpu")
        assert after.objects == (1, 2) and after.confidence.shape == (16, 2)
        assert np.median(_iou(world, after.ids, 2)) > 0.5 and (after.confidence[:, 1] > 0).sum() > 8
        assert np.array_equal(after.confidence[0, :1], one.confidence[0])

    @pytest.mark.parametrize(
        ("points", "labels", "error", "words"),
        [
            (Queries(np.zeros((0, 3))), None, InputError, "at least one click"),
            (Queries([(5.5, 5.5, 99)]), None, InputError, "frame"),
            (Queries([(500.5, 5.5, 0)]), None, InputError, "160"),
            (Queries([(5.5, 5.5, 0)]), [1, 0], ShapeError, "one per click"),
            (Queries([(5.5, 5.5, 0)], np.array([255])), None, InputError, "1 .. 254"),
            (Queries([(5.5, 5.5, 0)], np.array([7])), [0], InputError, "object 7"),
        ],
    )
    def test_bad_clicks(
        self, world: World, halved: Segmentation, points: Any, labels: Any, error: Any, words: str
    ) -> None:
        with pytest.raises(error, match=words):
            correct(world.video, halved, Prompts(points=points, labels=labels), tracker="lk", device="cpu")

    def test_another_video(self, world: World, halved: Segmentation) -> None:
        with pytest.raises(InputError, match="160x120, 12 frames, got 160x120, 16 frames"):
            correct(world.video[:12], halved, Queries([(5.5, 5.5, 0)]), tracker="lk", device="cpu")


class TestEditedMasks:
    def test_replaces_what_differs(self) -> None:
        masks = [np.full((3, 4), t, np.uint8) for t in range(3)]
        edited = EditedMasks(masks)
        edited.replace(1, masks[1].copy())
        assert edited.changed == [] and len(edited) == 3
        edited.replace(2, np.zeros((3, 4), np.uint8))
        assert edited.changed == [2] and not edited[2].any() and (edited[1] == 1).all() and (masks[2] == 2).all()


class TestCommand:
    @pytest.fixture(scope="class")
    @classmethod
    def result(cls, world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
        """A folder of frames, and its finished result."""
        folder = tmp_path_factory.mktemp("mend")
        frames = folder / "frames"
        frames.mkdir()
        for t, frame in enumerate(world.video):
            cv2.imwrite(str(frames / f"{t:05d}.png"), frame[..., ::-1])
        write_mask(folder / "first.png", _half(world))
        _run("vos", frames, "--mask", folder / "first.png", "-o", folder / "out", "--tracker", "lk", "--format", "mots")
        return frames, folder / "out"

    def test_mends_and_remembers(self, world: World, result: tuple[Path, Path]) -> None:
        frames, out = result
        files, text = sorted(p.name for p in out.iterdir()), (out / "mots.txt").read_text()
        masks = [read_mask(p) for p in sorted((out / "masks").iterdir())]
        x, y = _innermost((np.asarray(world.masks[4]) == 1) & (masks[4] != 1))
        _run("vos", frames, "-o", out, "--correct", f"{x},{y},4,1")
        now = [read_mask(p) for p in sorted((out / "masks").iterdir())]
        assert _iou(world, now, 1)[1:5].min() > 0.88 and _iou(world, masks, 1)[1:3].max() < 0.85
        assert sorted(p.name for p in out.iterdir()) == files and (out / "mots.txt").read_text() != text
        _run("vos", frames, "-o", out, "--correct", f"{x},{y},6,1", "--correct", "2,2,6,1,-")
        settings = tomllib.loads((out / "config.toml").read_text())
        assert settings["correct"] == [f"{x},{y},4,1", f"{x},{y},6,1", "2,2,6,1,-"]
        # All of it again from the config.
        again = out.with_name("again")
        _run("vos", frames, "-o", again, "--config", out / "config.toml")
        assert tomllib.loads((again / "config.toml").read_text())["correct"] == settings["correct"]
        assert _iou(world, [read_mask(p) for p in sorted((again / "masks").iterdir())], 1)[1:5].min() > 0.88

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (["--mask", "first.png"], "--correct and --mask exclude each other"),
            (["--overwrite"], "--correct and --overwrite exclude each other"),
            (["--points", "8"], "--correct and --points exclude each other"),
        ],
    )
    def test_settings_are_the_results(self, result: tuple[Path, Path], more: list[str], words: str, run: Any) -> None:
        frames, out = result
        ran = run("vos", frames, "-o", out, "--correct", "5,5", *more)
        assert ran.code == 2 and words in ran.err

    def test_nothing_to_mend(self, result: tuple[Path, Path], run: Any) -> None:
        frames, out = result
        ran = run("vos", frames, "-o", out.with_name("none"), "--correct", "5,5")
        assert ran.code == 2 and "finished result" in ran.err and not out.with_name("none").exists()
        record = (out / "result.json").read_bytes()
        ran = run("vos", frames, "-o", out, "--correct", "5,5,99")
        assert ran.code == 2 and "frame" in ran.err and (out / "result.json").read_bytes() == record


def _run(*arguments: Any) -> None:
    assert main([str(a) for a in arguments]) == 0
