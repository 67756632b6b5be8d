"""TrackIME runs around everything registered; weights follow from their names, networks are small where they can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import networks
from tests.conftest import HalfPlanes
from tests.golden import filled
from trackime import segmenters, trackers
from trackime.checkpoints import CHECKPOINTS
from trackime.ime import ImeConfig, Result, run
from trackime.segmenters.base import PointSegmenter
from trackime.segmenters.networks.sam import Sam
from trackime.segmenters.networks.sam_vit import SamVit, VitSize
from trackime.segmenters.networks.tinyvit import TinyViT
from trackime.trackers.base import PointTracker
from trackime.types import Queries
from trackime.video import open_video
from trackime.worlds import make_world

SIZE = (72, 56)
FRAMES = 4
ASKED = Queries([[20.5, 20.5, 0], [50.0, 30.0, 0], [36.0, 28.0, 2]])
CONFIG = ImeConfig(windows_px=(48,), neighbours=3, cuts=False)


def follow(tracker: PointTracker, segmenter: PointSegmenter) -> Result:
    world = make_world(seed=0, width=SIZE[0], height=SIZE[1], frames=FRAMES, objects=2)
    return run(open_video(world.video), ASKED, tracker, segmenter, CONFIG)


def check(result: Result) -> None:
    tracks = result.tracks
    assert set(result.rows) == {"none", "im", "im_fusion", "im_clip", "all"}
    for xy, visibility in result.rows.values():
        assert np.isfinite(xy).all()
        assert ((visibility >= 0) & (visibility <= 1)).all()
    rows, t = np.arange(len(ASKED)), ASKED.t
    np.testing.assert_allclose(tracks.xy[rows, t], ASKED.xy, atol=1e-4)
    assert (tracks.visibility[rows, t] == 1).all()
    assert (tracks.queries.instance >= 0).all()
    assert result.operations.window_frames_encoded > 0


SMALL = {
    "cotracker3": {"input_size": (48, 64), "support_grid": 2},
    "cotracker3-online": {"input_size": (48, 64), "support_grid": 2},
    "pips": {"input_size": (64, 80), "iterations": 2},
    "pips2": {"input_size": (64, 80), "iterations": 2},
}
"""Options that make a tracker cheap: what is asked here does not depend on them."""


@pytest.mark.parametrize("name", trackers.names())
def test_tracker(name: str, tmp_path: Path) -> None:
    learned = name in networks.NETWORKS
    assert learned == (name in CHECKPOINTS)
    path = f":{networks.checkpoint(name, tmp_path)}" if learned else ""
    check(follow(trackers.create(name + path, **SMALL.get(name, {})), HalfPlanes()))


@pytest.mark.parametrize("name", segmenters.names())
def test_segmenter(name: str, tmp_path: Path) -> None:
    if name not in CHECKPOINTS:
        return check(follow(trackers.create("lk"), segmenters.create(name)))
    if name == "mobile-sam" or name.startswith("sam-vit"):
        network = Sam(TinyViT() if name == "mobile-sam" else SamVit(VitSize(32, 2, 2, 14, (1,))))
        torch.save(filled(network), tmp_path / "weights.pt")
        return check(follow(trackers.create("lk"), segmenters.create(f"{name}:{tmp_path / 'weights.pt'}")))
    pytest.importorskip("transformers")
    from tests.test_pretrained import build, timm_stand_in

    with timm_stand_in():
        build("sam2.1-tiny" if name.startswith("sam2") else name).save_pretrained(tmp_path)
        return check(follow(trackers.create("lk"), segmenters.create(f"{name}:{tmp_path}")))
