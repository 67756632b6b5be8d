"""What tests of the command line share: a small video, tracking that takes no time, and a way to run commands."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from trackime.types import Queries, Tracks
from trackime.video import open_video
from trackime_apps import cli

W, H, T = 96, 64, 6
"""Size and length of `video`: a blue box on grey that moves 1 px a frame to the right."""


class Ran:
    """What a run said and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """run("track", ...): the command line, in this process."""

    def call(*typed: Any) -> Ran:
        code = cli.main([str(word) for word in typed])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return call


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> list[Queries]:
    """Tracking that takes no time: points move 1 px a frame. The queries it was asked for."""
    asked: list[Queries] = []

    def track(video: Any, queries: Queries, *_: Any, **__: Any) -> Tracks:
        asked.append(queries)
        info = open_video(video).info
        step = np.arange(info.frames)[None, :, None] - queries.t[:, None, None]
        xy = queries.xy[:, None] + step * np.array([1.0, 0.0])
        return Tracks(xy, np.ones(xy.shape[:2]), queries, info)

    monkeypatch.setattr("trackime.ime.track", track)
    monkeypatch.setattr("trackime_apps.vos._track.track", lambda *a, **k: SimpleNamespace(tracks=track(*a, **k)))
    return asked


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames with names of their own."""
    folder = tmp_path_factory.mktemp("video") / "frames"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 12, (H, W, 3), dtype=np.uint8)
    for t in range(T):
        frame = 90 + noise
        frame[10:30, 10 + t : 30 + t] = (200, 60, 30) + noise[10:30, 10:30]
        cv2.imwrite(str(folder / f"shot_{t:02d}.png"), frame)
    return folder


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """The box's mask in frame 0."""
    ids = np.zeros((H, W), np.uint8)
    ids[10:30, 10:30] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), ids)
    return tmp_path / "mask.png"
