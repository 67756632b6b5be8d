"""How well masks are propagated: with a segmenter and tracks that are the truth, lost objects, new points, candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trackime.segmenters import PointSegmenter
from trackime.segmenters.prompted import PromptedSegmenter
from trackime.types import Queries, Tracks, VideoInfo
from trackime.worlds import World, make_world
from trackime_apps.vos.appearance import Appearance, histogram
from trackime_apps.vos.ask import PROMPT, Adviser, Tracked, agreement
from trackime_apps.vos.config import VosConfig
from trackime_apps.vos.metrics import evaluate, summary
from trackime_apps.vos.queries import sample_background, sample_objects
from trackime_apps.vos.reseed import Points
from trackime_apps.vos.run import segment


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
    made = [f.ids for f in segment(world.video, masks={0: np.asarray(world.masks[0])}, device="cpu", **more)]
    return 100 * summary(evaluate(made, list(world.masks)))["J&F"]


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
