"""RealVideo validation, by a tracker that knows the truth and one that does not move."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import RampTracker
from trackime.errors import InputError
from trackime.trackers import Features
from trackime.training.real import RealVideo, score_real
from trackime.video import VideoWriter


class Drifting(RampTracker):
    """Follows no pixel: every track drifts by 3 pixels a frame away from its query, forth and back alike."""

    def track_features(self, features: Features, queries: Tensor) -> tuple[Tensor, Tensor]:
        steps = (torch.arange(features.frames) - queries[..., 2:]).abs()  # [B, N, T]
        return queries[..., None, :2] + 3 * steps[..., None], torch.ones_like(steps)


def labelled(folder: Path, step: float) -> Path:
    """A project whose joint moves `step` pixels a frame to the right in a ramp."""
    frames = folder / "labeled-data" / "v"
    frames.mkdir(parents=True)
    rows = ["scorer,a,a", "bodyparts,j,j", "coords,x,y"]
    for t in range(6):
        image = np.zeros((60, 90, 3), np.uint8)
        image[..., 2], image[..., 1], image[..., 0] = np.arange(90), np.arange(60)[:, None], t  # BGR of a ramp
        cv2.imwrite(str(frames / f"img{t}.png"), image)
        rows.append(f"labeled-data/v/img{t}.png,{20 + step * t},30")
    (frames / "CollectedData_a.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_joints_are_met_or_not(tmp_path: Path) -> None:
    real = RealVideo([labelled(tmp_path, 2.0)])
    right, still = score_real(RampTracker((2, 0)), real), score_real(RampTracker((0, 0)), real)
    assert right["pck"] == 1 and right["joints"] == 5
    # The tolerance is 2.16 pixels: one step of 2 is within it.
    assert still["pck"] == pytest.approx(1 / 5)
    assert right[f"pck {tmp_path.name}"] == 1


def test_what_invents_motion_does_not_return(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    image = cv2.resize(noise, (160, 120), interpolation=cv2.INTER_NEAREST)
    with VideoWriter(path, 160, 120, 25) as writer:
        for _ in range(9):
            writer.write(image)
    real = RealVideo(clips=[path], lines=120, frames=5, stride=2, starts=(0, 4), points=8)
    assert score_real(RampTracker((1, 0)), real)["returned"] == 1
    scores = score_real(Drifting((0, 0)), real)
    assert scores["returned"] == 0 and scores["visible_end"] == 1


def test_nothing_to_measure_on_is_refused() -> None:
    with pytest.raises(InputError, match="expected labelled projects or clips"):
        RealVideo()


def test_lists_of_the_command_line_are_hashable() -> None:
    assert hash(RealVideo(["a"], ["b"])) == hash(RealVideo(("a",), ("b",)))  # validation keeps its worlds by it
