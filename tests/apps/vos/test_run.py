"""Video object segmentation: points from masks, propagation, prompts, and the run as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trackime.errors import InputError, ShapeError
from trackime.ime import ImeConfig
from trackime.progress import Report
from trackime.segmenters import PointSegmenter
from trackime.types import Queries, Tracks, VideoInfo
from trackime_apps.vos import Prompts, VosConfig, sample_mask, segment
from trackime_apps.vos._propagate import working_size
from trackime_apps.vos._sampling import ring_of, sample_background, sample_objects
from trackime_apps.vos._track import assign_tracks
from trackime_apps.vos._warp import FlowWarper, affine, warp_by_points
from trackime_apps.vos.prompts import object_ids

SIZE = (60, 80)


def _film(frames: int = 10) -> tuple[np.ndarray, np.ndarray, Tracks]:
    """A textured disc (1) moving right and a square (2) moving down before a textured wall, with true tracks."""
    rng = np.random.default_rng(0)
    wall = rng.normal([70, 110, 80], 12, (*SIZE, 3))
    cloth = [rng.normal(c, 12, (40, 40, 3)) for c in ([190, 70, 60], [60, 80, 190])]
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    video, masks, paths = [], [], []
    for t in range(frames):
        centres = np.array([[20 + 3 * t, 24], [60, 14 + 3 * t]])
        paths.append(centres)
        inside = [
            (x - centres[0, 0]) ** 2 + (y - centres[0, 1]) ** 2 < 11**2,
            (abs(x - centres[1, 0]) < 8) & (abs(y - centres[1, 1]) < 8),
        ]
        frame, ids = wall.copy(), np.zeros(SIZE, np.uint8)
        for k, mask in enumerate(inside):
            rows, columns = np.nonzero(mask)
            frame[mask] = cloth[k][rows - centres[k, 1] + 20, columns - centres[k, 0] + 20]
            ids[mask] = k + 1
        video.append(np.clip(frame, 0, 255).astype(np.uint8))
        masks.append(ids)
    starts, xy, seen, instance = [], [], [], []
    for k in (1, 2):
        points = sample_mask(masks[0] == k, 12, "k-medoids")
        track = points[:, None] + (np.array(paths)[:, k - 1] - paths[0][k - 1])
        at = np.floor(track).astype(int).clip(0, [SIZE[1] - 1, SIZE[0] - 1])
        starts.append(points)
        xy.append(track)
        seen.append(np.stack([masks[t][at[:, t, 1], at[:, t, 0]] == k for t in range(frames)], 1))
        instance += [k] * len(points)
    first = np.concatenate(starts)
    queries = Queries(np.concatenate([first, np.zeros((len(first), 1))], 1), np.array(instance))
    info = VideoInfo.regular(SIZE[1], SIZE[0], frames)
    return np.stack(video), np.stack(masks), Tracks(np.concatenate(xy), np.concatenate(seen), queries, info)


@pytest.fixture(scope="module")
def film() -> tuple[np.ndarray, np.ndarray, Tracks]:
    return _film()


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def _run(video: np.ndarray, **more: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    given = {name: more.pop(name) for name in ("masks", "points", "labels") if name in more}
    result = segment(video, Prompts(**given), device="cpu", **more)
    assert len(result) == len(result.ids) == len(result.confidence) == len(video)
    return np.stack(list(result.ids)), result.confidence, result


class TestQueries:
    @pytest.mark.parametrize("strategy", ["mixed", "k-medoids", "corners", "random"])
    @pytest.mark.parametrize("count", [0, 1, 16])
    def test_points_lie_inside_and_repeat(self, film: Any, strategy: str, count: int) -> None:
        video, masks, _ = film
        mask = masks[0] == 1
        xy = sample_mask(mask, count, strategy, video[0], seed=3)
        assert xy.shape == (count, 2)
        at = np.floor(xy).astype(int)
        assert mask[at[:, 1], at[:, 0]].all()
        assert len(np.unique(xy.round(2), axis=0)) == count
        assert (xy == sample_mask(mask, count, strategy, video[0], seed=3)).all()

    def test_small_and_empty_masks(self) -> None:
        mask = np.zeros((9, 9), bool)
        assert sample_mask(mask, 5, "k-medoids").shape == (0, 2)
        mask[4, 5] = mask[0, 0] = True
        assert sorted(sample_mask(mask, 5, "k-medoids").tolist()) == [[0.5, 0.5], [5.5, 4.5]]

    def test_medoids_spread(self) -> None:
        xy = sample_mask(np.ones((40, 40), bool), 4, "k-medoids")
        quarters = {(x > 20, y > 20) for x, y in xy}
        assert len(quarters) == 4

    def test_objects_and_background(self, film: Any) -> None:
        video, masks, _ = film
        ids = masks[0].copy()
        ids[:2] = 255
        assert object_ids(ids) == [1, 2]
        on = sample_objects(ids, 0, VosConfig(points=5), video[0])
        assert on.instance.tolist() == [1] * 5 + [2] * 5
        off = sample_background(ids, 0, VosConfig(negatives=3))
        at = np.floor(off.xy).astype(int)
        assert len(off) == 6 and (off.instance == 0).all() and (ids[at[:, 1], at[:, 0]] == 0).all()
        assert not (ring_of(ids == 1, 0.5) & (ids == 1)).any()
        assert not ring_of(ids == 7, 0.5).any()

    def test_bad_input(self, film: Any) -> None:
        with pytest.raises(InputError, match="strategy"):
            sample_mask(film[1][0] == 1, 3, "grid")
        with pytest.raises(InputError, match="frame"):
            sample_mask(film[1][0] == 1, 3, "corners")
        with pytest.raises(ShapeError, match="ids"):
            sample_objects(film[1][0][:5], 0, VosConfig(), film[0][0])


class TestCarry:
    def test_affine_is_found_despite_outliers(self) -> None:
        rng = np.random.default_rng(0)
        here = rng.uniform(0, 200, (40, 2))
        linear, shift = np.array([[1.1, 0.1], [-0.1, 0.9]]), np.array([5.0, -8])
        there = here @ linear + shift
        there[:6] += 80
        found, trust = affine(here, there, np.ones(40))
        assert found[:2] == pytest.approx(linear, abs=0.02) and (trust[:6] < 0.05).all() and (trust[6:] > 0.5).all()

    @pytest.mark.parametrize("count", [1, 2, 3, 30])
    def test_warp_carries_a_translation(self, count: int) -> None:
        here = np.random.default_rng(count).uniform(5, 45, (count, 2))
        warp = warp_by_points(here, here - [7, 3], np.ones(count), (50, 70))
        y, x = np.mgrid[0:50, 0:70] + 0.5
        assert warp.source[..., 0] == pytest.approx(x - 7, abs=0.05)
        assert warp.source[..., 1] == pytest.approx(y - 3, abs=0.05)
        assert warp.error < 0.01
        image = np.zeros((50, 70), np.float32)
        image[10, 20] = 1
        warped = warp.apply(image, -1)
        assert warped[13, 27] == pytest.approx(1, abs=0.05) and warped[0, 0] == -1

    def test_parts_move_apart(self) -> None:
        left, right = np.random.default_rng(0).uniform([0, 0], [20, 60], (2, 20, 2))
        right = right + np.array([80.0, 0])
        here = np.concatenate([left, right])
        there = np.concatenate([left + np.array([0, 6]), right - np.array([0, 6])])
        warp = warp_by_points(here, there, np.ones(40), (60, 100))
        move = warp.source[..., 1] - (np.mgrid[0:60, 0:100][0] + 0.5)
        assert move[30, 10] > 4 and move[30, 90] < -4

    def test_flow(self) -> None:
        rng = np.random.default_rng(0)
        wide = np.asarray(torch.nn.functional.avg_pool2d(torch.from_numpy(rng.random((1, 1, 80, 110))), 5, 1)[0, 0])
        grey = ((wide - wide.min()) / np.ptp(wide) * 255).astype(np.uint8)
        warp = FlowWarper().warp(grey[:64, :96], grey[2:66, 3:99])
        y, x = np.mgrid[10:50, 10:80] + 0.5
        assert np.median(abs(warp.source[10:50, 10:80, 0] - (x - 3))) < 0.3
        assert np.median(abs(warp.source[10:50, 10:80, 1] - (y - 2))) < 0.3
        tiny = np.zeros((4, 4), np.uint8)
        assert FlowWarper().warp(tiny, tiny).source[0, 0].tolist() == [0.5, 0.5]


class TestPrompts:
    info = VideoInfo.regular(20, 10, 4)

    def test_first_frames_and_clicks(self) -> None:
        ids = np.zeros((10, 20), np.uint8)
        ids[2:5, 3:7] = 7
        points = Queries([(3, 3, 2), (9, 9, 1), (4, 4, 0)], np.array([-1, 5, 7]))
        prompts = Prompts({1: ids}, points)
        assert prompts.first == {7: 0, 5: 1, 1: 2} and prompts.objects == (1, 5, 7) and prompts.frames == [0, 1, 2]
        # A click on another object is a click off this one.
        assert prompts.clicks(1, 7)[1].tolist() == [0] and prompts.clicks(1, 5)[1].tolist() == [1]

    @pytest.mark.parametrize(
        ("masks", "points", "labels", "message"),
        [
            (None, None, None, "got none"),
            ({0: np.zeros((10, 20), np.uint8)}, None, None, "got none"),
            ({0: np.full((10, 20), 255, np.uint8)}, None, None, "got none"),
            ({4: np.ones((10, 20), np.uint8)}, None, None, "frame in 0 .. 3"),
            ({0: np.ones((5, 20), np.uint8)}, None, None, r"\[10, 20\]"),
            ({0: np.ones((10, 20))}, None, None, "whole ids"),
            (None, Queries([(1, 1, 9)]), None, "outside"),
            (None, Queries([(1, 1, 0)]), [0], "clicks off it alone"),
            (None, Queries([(1, 1, 0)]), [1, 1], "labels"),
            (None, Queries([(1, 1, 0)]), [2], "labels"),
            (None, Queries([(1, 1, 0)], np.array([255])), None, "1 .. 254"),
        ],
    )
    def test_bad_input(self, masks: Any, points: Any, labels: Any, message: str) -> None:
        with pytest.raises((InputError, ShapeError), match=message):
            given = {"masks": masks, "points": points, "labels": labels}
            Prompts(**{name: value for name, value in given.items() if value is not None}).check(self.info)


class TestSegment:
    def test_two_objects_with_tracks(self, film: Any) -> None:
        video, masks, tracks = film
        ids, confidence, result = _run(video, masks={0: masks[0]}, tracks=tracks)
        assert ids.shape == masks.shape and ids.dtype == np.uint8 and result.objects == (1, 2)
        for k in (1, 2):
            assert min(_iou(ids[t] == k, masks[t] == k) for t in range(len(video))) > 0.8
        assert confidence.shape == (10, 2) and (confidence > 0.5).all() and (confidence[0] == 1).all()
        assert (ids[0] == masks[0]).all()

    def test_masks_are_a_sequence(self, film: Any) -> None:
        video, masks, tracks = film
        result = segment(video[:4], masks[0], tracks=tracks.window(0, 4), device="cpu")
        assert all((a == b).all() for a, b in zip(result.ids, result.ids, strict=True))
        assert (result.ids[-1] == result.ids[3]).all() and len(result.ids[1:3]) == 2
        with pytest.raises(IndexError):
            result.ids[4]

    def test_tracks_alone_and_flow_alone(self, film: Any) -> None:
        video, masks, tracks = film
        for more in ({"config": VosConfig(flow=False)}, {}):
            known = tracks if more else tracks[:0]
            ids, _, _ = _run(video[:6], masks={0: masks[0]}, tracks=known.window(0, 6), **more)
            assert _iou(ids[-1] == 2, masks[5] == 2) > 0.8

    def test_mask_in_the_middle_goes_both_ways(self, film: Any) -> None:
        video, masks, tracks = film
        first = np.where(masks[0] == 1, 1, 0).astype(np.uint8)
        later = np.where(masks[6] == 2, 2, 0).astype(np.uint8)
        ids, confidence, _ = _run(video, masks={0: first, 6: later}, tracks=tracks)
        assert min(_iou(ids[t] == 2, masks[t] == 2) for t in range(10)) > 0.75
        assert min(_iou(ids[t] == 1, masks[t] == 1) for t in range(10)) > 0.75
        assert confidence[6, 1] == 1 and confidence[0, 0] == 1

    def test_later_mask_resets(self, film: Any) -> None:
        video, masks, tracks = film
        wrong = np.zeros(SIZE, np.uint8)
        wrong[40:55, 2:14] = 1
        ids, _, _ = _run(video[:6], masks={0: wrong, 4: masks[4]}, tracks=tracks[:0].window(0, 6))
        assert _iou(ids[5] == 1, masks[5] == 1) > 0.8

    def test_clicks_and_chunks(self, film: Any) -> None:
        video, masks, tracks = film
        points = Queries([(20.5, 24.5, 0), (60.5, 32.5, 6), (2.5, 2.5, 0)], np.array([1, 2, 1]))
        more = {"points": points, "labels": np.array([1, 1, 0]), "tracks": tracks}
        runs = [_run(video, ime=ImeConfig(chunk=size), **more)[0] for size in (3, 16)]
        assert (runs[0] == runs[1]).all()
        assert _iou(runs[0][0] == 1, masks[0] == 1) > 0.8 and _iou(runs[0][9] == 2, masks[9] == 2) > 0.7

    def test_later_click_mends(self, film: Any) -> None:
        video, masks, tracks = film
        half = np.where((masks[0] == 1) & (np.arange(SIZE[1]) < 18), 1, 0).astype(np.uint8)
        points = Queries([(35.5, 24.5, 4)], np.array([1]))
        ids, _, _ = _run(video[:6], masks={0: half}, points=points, tracks=tracks.window(0, 6))
        assert ids[4][24, 35] == 1

    def test_hidden_object_is_left_out(self, film: Any) -> None:
        video, masks, tracks = film
        video = video.copy()
        video[5:] = np.random.default_rng(1).normal([70, 110, 80], 12, (5, *SIZE, 3)).clip(0, 255).astype(np.uint8)
        visibility = tracks.visibility.copy()
        visibility[:, 5:] = 0
        hidden = Tracks(tracks.xy, visibility, tracks.queries, tracks.video)
        ids, confidence, _ = _run(video, masks={0: masks[0]}, tracks=hidden)
        assert (ids[6:] == 0).all() and (confidence[6:] < 0.2).all()

    def test_smaller_cut_is_drawn_at_full_size(self, film: Any) -> None:
        video, masks, tracks = film
        ids, _, _ = _run(video[:4], masks={0: masks[0]}, tracks=tracks.window(0, 4), config=VosConfig(side=40))
        assert ids.shape[1:] == SIZE and _iou(ids[3] == 1, masks[3] == 1) > 0.75

    def test_other_segmenters_are_asked(self, film: Any) -> None:
        video, masks, tracks = film

        class Oracle(PointSegmenter):
            name = "oracle"
            asked = 0

            def encode(self, frame: torch.Tensor) -> Any:
                same = [(np.abs(video[t] / 255 - frame.permute(1, 2, 0).numpy()).max() < 1e-3) for t in range(10)]
                return masks[int(np.argmax(same))]

            def decode(self, embedding: Any, points: Any, labels: Any, boxes: Any = None, prior: Any = None) -> Any:
                self.asked += 1
                logits = []
                for xy, kind in zip(points.numpy(), labels.numpy(), strict=True):
                    x, y = np.floor(xy[kind == 1][0]).astype(int)
                    logits.append(np.where(embedding == embedding[y, x], 6.0, -6.0))
                return torch.from_numpy(np.stack(logits)).float(), torch.ones(len(points))

        for prompts in ("joint", "each"):
            oracle = Oracle()
            ids, _, _ = _run(
                video[:5],
                masks={0: masks[0]},
                tracks=tracks.window(0, 5),
                segmenter=oracle,
                config=VosConfig(prompts=prompts, flow=False),
            )
            assert oracle.asked == 4 and _iou(ids[4] == 1, masks[4] == 1) > 0.9

    def test_tracks_the_points_itself(self, film: Any) -> None:
        video, masks, _ = film
        told = []
        ids, _, result = _run(
            video[:4],
            masks={0: masks[0]},
            config=VosConfig(points=6, negatives=2),
            progress=Report(lambda stage, done, total: told.append((stage, done, total))),
        )
        assert result.tracks.instance.tolist() == [1] * 6 + [2] * 6 + [0] * 4
        assert ("masks", 4, 4) in told and _iou(ids[3] == 2, masks[3] == 2) > 0.8

    def test_tracks_of_another_video(self, film: Any) -> None:
        video, masks, tracks = film
        with pytest.raises(InputError, match=r"80x60, 4 frames, got 80x60, 10 frames"):
            segment(video[:4], masks[0], tracks=tracks, device="cpu")

    def testassign_tracks(self, film: Any) -> None:
        _, masks, tracks = film
        unknown = Tracks(
            tracks.xy, tracks.visibility, Queries(tracks.queries.xyt, np.full(len(tracks), -1)), tracks.video
        )
        start, first = {1: 0}, {1: masks[0] == 1}
        assert (assign_tracks(unknown, start, first).instance == np.where(tracks.instance == 1, 1, 0)).all()
        assert (assign_tracks(tracks, start, first).instance == np.where(tracks.instance == 1, 1, 0)).all()
        found = Queries(tracks.queries.xyt, 256 + np.arange(len(tracks)) % 3)  # groups that a run found name no object
        grouped = Tracks(tracks.xy, tracks.visibility, found, tracks.video)
        assert (assign_tracks(grouped, start, first).instance == np.where(tracks.instance == 1, 1, 0)).all()


class TestConfig:
    @pytest.mark.parametrize(
        "options",
        [
            {"points": -1},
            {"seed": -1},
            {"side": 5},
            {"strategy": "grid"},
            {"threshold": 2.0},
            {"colour": float("nan")},
        ],
    )
    def test_bad_options(self, options: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=next(iter(options))):
            VosConfig(**options)

    def test_working_size(self) -> None:
        assert working_size((480, 854), 480) == (270, 480)
        assert working_size((480, 854), 0) == (480, 854)
        assert working_size((3, 1000), 100) == (1, 100)
