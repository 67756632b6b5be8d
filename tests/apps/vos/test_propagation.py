"""How well masks are propagated: with a true masks and tracks, lost objects, new points, candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trackime.imaging import signed_distance
from trackime.metrics import evaluate_masks, summary
from trackime.segmenters import PointSegmenter, PromptedSegmenter
from trackime.types import Queries, Tracks, VideoInfo
from trackime.worlds import World, make_world
from trackime_apps.vos import VosConfig, segment
from trackime_apps.vos._appearance import Appearance
from trackime_apps.vos._motion_cue import motion_ratio
from trackime_apps.vos._points import PointTracks
from trackime_apps.vos._prompted import PROMPT, PointPrompter, PromptPoints, agreement
from trackime_apps.vos._sampling import sample_background, sample_objects
from trackime_apps.vos._warp import Warp


class Oracle(PointSegmenter):
    """Knows the true masks: a prompt gets the object that most of its points lie on."""

    name = "oracle"

    def __init__(self, video: np.ndarray, masks: np.ndarray) -> None:
        self.video, self.masks, self.encoded = video, masks, 0

    def encode(self, frame: torch.Tensor) -> Any:
        self.encoded += 1
        same = np.abs(self.video / 255 - frame.permute(1, 2, 0).numpy()).max((1, 2, 3))
        return self.masks[int(same.argmin())]

    def decode(self, embedding: Any, points: Any, labels: Any, boxes: Any = None, prior: Any = None) -> Any:
        logits = []
        for xy, kind in zip(points.numpy(), labels.numpy(), strict=True):
            x, y = np.floor(xy[kind == 1]).astype(int).clip(0, np.array(embedding.shape)[::-1] - 1).T
            k = np.bincount(embedding[y, x]).argmax()
            logits.append(np.where(embedding == k, 6.0, -6.0))
        return torch.from_numpy(np.stack(logits)).float(), torch.ones(len(points))


@pytest.fixture(scope="module")
def world() -> World:
    """Two objects, one before the other for a while."""
    return make_world(seed=3, width=128, height=96, frames=16, objects=2, occlusion=1.0, size=(0.3, 0.5))


def _true_tracks(world: World) -> Tracks:
    ids = np.asarray(world.masks[0])
    config = VosConfig(points=24)
    return world.track(
        Queries.concat([sample_objects(ids, 0, config, world.video[0]), sample_background(ids, 0, config)])
    )


def _score(world: World, **more: Any) -> float:
    more = {"tracks": _true_tracks(world), "tracker": None, **more}
    made = segment(world.video, np.asarray(world.masks[0]), device="cpu", **more).ids
    return 100 * summary(evaluate_masks(made, list(world.masks)))["J&F"]


class TestOracle:
    def test_nothing_is_lost_with_true_masks_and_tracks(self, world: World) -> None:
        oracle = Oracle(world.video, np.asarray(world.masks))
        assert _score(world, segmenter=oracle) >= 95
        assert oracle.encoded == len(world.video) - 1  # once a frame, both objects together

    @pytest.mark.parametrize("prompts", ["joint", "each"])
    def test_smaller_cut_keeps_its_borders(self, world: World, prompts: str) -> None:
        oracle = Oracle(world.video, np.asarray(world.masks))
        assert _score(world, segmenter=oracle, config=VosConfig(side=64, prompts=prompts)) >= 95

    def test_own_cut_with_true_tracks(self, world: World) -> None:
        assert _score(world) >= 85


SIZE = (48, 64)


def _crossing(frames: int = 16) -> tuple[np.ndarray, np.ndarray, Tracks]:
    """A red box moves right behind a post and comes out again; its true tracks."""
    rng = np.random.default_rng(0)
    wall, cloth = rng.normal([70, 110, 80], 10, (*SIZE, 3)), rng.normal([190, 70, 60], 10, (16, 12, 3))
    video, masks = [], []
    start = np.stack(np.meshgrid(np.arange(4, 15, 3), np.arange(18, 31, 3)), -1).reshape(-1, 2) + 0.5
    xy = start[:, None] + np.arange(frames)[:, None] * np.array([3, 0])
    for t in range(frames):
        frame, ids = wall.copy(), np.zeros(SIZE, np.uint8)
        frame[16:32, 3 + 3 * t : 15 + 3 * t] = cloth[:, : len(range(*slice(3 + 3 * t, 15 + 3 * t).indices(SIZE[1])))]
        ids[16:32, 3 + 3 * t : 15 + 3 * t] = 1
        frame[:, 24:44], ids[:, 24:44] = wall[:, 4:24], 0
        video.append(frame.clip(0, 255).astype(np.uint8))
        masks.append(ids)
    at = np.floor(xy).astype(int).clip(0, [SIZE[1] - 1, SIZE[0] - 1])
    seen = np.stack([masks[t][at[:, t, 1], at[:, t, 0]] for t in range(frames)], 1)
    queries = Queries(np.concatenate([start, np.zeros((len(start), 1))], 1), np.ones(len(start)))
    return np.stack(video), np.stack(masks), Tracks(xy, seen, queries, VideoInfo.regular(SIZE[1], SIZE[0], frames))


class TestLostAndFound:
    def test_comes_back_with_its_points(self) -> None:
        video, masks, tracks = _crossing()
        made = segment(video, masks[0], tracks=tracks, tracker=None, device="cpu")
        hidden = [t for t in range(len(video)) if not (masks[t] == 1).any()]
        assert len(hidden) >= 2 and all((made.ids[t] == 0).all() for t in hidden[1:])
        assert all(made.confidence[t, 0] < 0.2 for t in hidden[1:])
        back = [t for t in range(hidden[-1] + 1, len(video)) if (masks[t] == 1).sum() > 100]
        for t in back:
            a, b = made.ids[t] == 1, masks[t] == 1
            assert (a & b).sum() / (a | b).sum() > 0.6 and made.confidence[t, 0] > 0.3

    def test_confidence_ranks_masks(self) -> None:
        video, masks, tracks = _crossing()
        made = segment(video, masks[0], tracks=tracks, tracker=None, device="cpu")
        visible = (masks == 1).any((1, 2))
        confidence = made.confidence[:, 0]
        assert confidence[visible].mean() > confidence[~visible].mean() + 0.4


class TestAppearance:
    def test_tells_the_object_from_its_surroundings(self) -> None:
        rng = np.random.default_rng(0)
        lab = rng.normal([50, 0, 0], 2, (20, 30, 3)).astype(np.float32)
        lab[:, 10:20] += np.array([0, 40, 20], np.float32)
        mask = np.zeros((20, 30), bool)
        mask[:, 10:20] = True
        look = Appearance(VosConfig(), lab, mask)
        assert look.separability > 0.9
        ratio = look.ratio(lab, np.ones_like(mask))
        assert ratio[8, 15] > 1 and ratio[8, 3] < -1
        colours = lab[8, [15, 3]]
        assert look.likely(colours, lab[[8, 8], [15, 15]]).tolist() == [True, False]
        # Nothing but the object: there is nothing to tell it from.
        assert Appearance(VosConfig(), lab, np.ones_like(mask)).separability == pytest.approx(0.1)


class TestMotion:
    def test_what_moves_with_the_object(self) -> None:
        """The flow of a box [20, 30] that moves 4 px right; the propagated mask has only its left half."""
        y, x = np.mgrid[0:40, 0:60].astype(np.float32) + np.float32(0.5)
        source = np.stack([x, y], -1)
        source[10:30, 20:50, 0] -= 4
        known = np.zeros((40, 60), bool)
        known[10:30, 20:35] = True
        ratio = motion_ratio(Warp(source, 0.2), signed_distance(known), 25)
        assert ratio[20, 45] > 0.9 and ratio[20, 5] < -0.9 and ratio[20, 25] > 0.9
        still = motion_ratio(Warp(np.stack([x, y], -1), 0.2), signed_distance(known), 25)
        assert np.abs(still).max() < 0.01
        assert not motion_ratio(Warp(source, 0.2), signed_distance(np.zeros((40, 60), bool)), 25).any()


class TestNewPoints:
    info = VideoInfo.regular(64, 48, 40)

    def _points(self, asked: list[Any], backward: bool = False, **more: Any) -> PointTracks:
        xy = np.tile(np.array([[[10.5, 20.5]], [[12.5, 24.5]]]), (1, 40, 1))
        tracks = Tracks(xy, np.ones((2, 40)), Queries([(10.5, 20.5, 0), (12.5, 24.5, 0)], np.array([1, 1])), self.info)

        def follow(queries: Queries, last: int) -> Tracks:
            asked.append((queries, last))
            count = abs(last - int(queries.t[0])) + 1
            moved = Queries(np.c_[queries.xy, np.zeros(len(queries))], queries.instance)
            still = np.repeat(queries.xy[:, None], count, 1)
            return Tracks(still, np.ones(still.shape[:2]), moved, VideoInfo.regular(64, 48, count))

        return PointTracks(VosConfig(**{"points": 16, "negatives": 4, "reseed": 5, **more}), tracks, follow, backward)

    @pytest.mark.parametrize(("backward", "last"), [(False, 25), (True, 0)])
    def test_put_where_there_are_none(self, backward: bool, last: int) -> None:
        asked: list[Any] = []
        points = self._points(asked, backward)
        ids = np.zeros((48, 64), np.uint8)
        ids[14:30, 6:50] = 1
        assert points.due(10) and not points.due(11) and points.add(10, ids, [1])
        queries, end = asked[0]
        assert end == (25 if not backward else 0) == last
        on, off = queries[queries.instance == 1], queries[queries.instance == 0]
        # On the bare part, no more than half as many as at the start; and around it.
        assert 2 <= len(on) <= 8 and (on.xy[:, 0] > 14).all() and len(off) == 4
        x, y = np.floor(on.xy).astype(int).T
        assert (ids[y, x] == 1).all()
        seen = points.at(10)
        assert len(seen.xy) == 2 + len(queries) and (np.diff(seen.number) > 0).all()
        assert len(points.at(last).xy) == len(seen.xy) and len(points.at(30).xy) == 2
        # Where there are enough by now none are put, and those that ended are forgotten.
        before = len(points.at(12 if not backward else 8).xy)
        points.add(12 if not backward else 8, ids, [1])
        assert len(points.at(12 if not backward else 8).xy) <= before + 3

    def test_switched_off(self) -> None:
        asked: list[Any] = []
        assert not self._points(asked, reseed=0).due(0)
        points = self._points(asked)
        points.follow = None
        assert not points.due(10) and not points.add(10, np.ones((48, 64), np.uint8), [1])
        assert not self._points(asked).add(10, np.zeros((48, 64), np.uint8), []) and not asked

    def test_new_part_is_followed(self) -> None:
        """Half of the object is given no point; the masks still reach it, and points are put there."""
        video, masks, tracks = _crossing(6)
        left = tracks[tracks.queries.xy[:, 0] < 8]
        config = VosConfig(reseed=2)
        ids = segment(video, masks[0], tracks=left, config=config, device="cpu").ids
        a, b = ids[2] == 1, masks[2] == 1
        assert (a & b).sum() / (a | b).sum() > 0.7


class Ambiguous(PromptedSegmenter):
    """Rates a part highest, the whole second, everything third, as networks do with a point on a shirt."""

    name = "ambiguous"

    def __init__(self, masks: np.ndarray) -> None:
        super().__init__()
        self.masks, self.prompts = masks, []

    def _features(self, image: Any) -> Any: ...

    def _masks(self, features: Any, prompts: Any) -> Any: ...

    def encode(self, frame: torch.Tensor) -> Any:
        return frame

    def decode(self, embedding: Any, points: Any, labels: Any, boxes: Any = None, prior: Any = None) -> Any:
        self.prompts.append((points, labels))
        part = torch.full((len(points), *SIZE), -6.0)
        part[:, 18:22] = 6.0
        return part, torch.ones(len(points))

    def candidates(self, embedding: Any, points: Any, labels: Any, boxes: Any = None, prior: Any = None) -> Any:
        whole = torch.from_numpy(np.where(self.masks == 1, 6.0, -6.0)).float().expand(len(points), *SIZE)
        return torch.stack([whole, torch.full_like(whole, 6.0)], 1), torch.tensor([[0.6, 0.5]] * len(points))


class TestPointPrompter:
    @pytest.mark.parametrize("prompts", ["joint", "each"])
    def test_candidate_that_agrees_with_the_tracks(self, prompts: str) -> None:
        video, masks, tracks = _crossing(2)
        network = Ambiguous(masks[0])
        about = PromptPoints(
            tracks.xy[:, 0], np.ones(len(tracks)), np.array([[40.5, 5.5], [60.5, 40.5]]), masks[0] == 1
        )
        prompter = PointPrompter(network, prompts)
        answers = prompter.predict(
            video[0], {1: about, 2: about, 3: PromptPoints(about.on[:0], np.zeros(0), about.off, None)}
        )
        assert sorted(answers) == [1, 2] and len(network.prompts) == 1
        points, labels = network.prompts[0]
        if prompts == "joint":
            assert points.shape == (2, PROMPT + 2, 2) and (labels == 1).sum() == 2 * PROMPT
        for answer in answers.values():
            assert ((answer.logits > 0) == (masks[0] == 1)).all() and answer.agreement > 0.8

    def test_agreement(self) -> None:
        mask = np.zeros((10, 10), bool)
        mask[2:6, 2:6] = True
        about = PromptPoints(np.array([[3.5, 3.5], [8.5, 8.5]]), np.array([0.9, 0.1]), np.zeros((0, 2)), mask)
        assert agreement(mask, about) == pytest.approx(0.9) and agreement(~mask & False, about) == 0
        assert agreement(np.ones_like(mask), PromptPoints(about.on, about.weights, about.on, mask)) == 0
