"""Tracking as commands do it: what it reports on the way."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from trackime.ime import ImeConfig
from trackime_apps.run import Progress, Prompt, ResultFolder, TrackRequest, track_into


class Recorder(Progress):
    """Keeps every call, by stage."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.calls: dict[str, list[tuple[int, int]]] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.calls.setdefault(stage, []).append((done, total))


def recorded(folder: Path, source: Path, **options: object) -> Recorder:
    progress = Recorder()
    result = ResultFolder(folder / "result", folder / "checkpoint")
    for made in (result.folder, result.checkpoint):
        made.mkdir()
    points = [Prompt(20.5, 20.5), Prompt(22.5, 24.5), Prompt(60.5, 50.5, 2)]
    track_into(result, source, TrackRequest(points, device="cpu", tracker="lk", **options), progress)  # type: ignore[arg-type]
    return progress


@pytest.mark.parametrize("chunk", [4, 16])
@pytest.mark.parametrize("switches", [{}, {"joint_masks": True, "windows": "query"}, {"clip": False, "cuts": False}])
def test_every_stage_ends_when_its_work_is_done(
    tmp_path: Path, video: Path, chunk: int, switches: dict[str, object]
) -> None:
    progress = recorded(tmp_path, video, config=ImeConfig(chunk=chunk, **switches))  # type: ignore[arg-type]
    assert {"full frame", "neighbours", "overlay"} <= set(progress.calls)
    for stage, calls in progress.calls.items():
        assert calls[-1][0] == calls[-1][1], f"{stage} ends at {calls[-1][0]} of {calls[-1][1]}"
        assert all(0 <= done <= total for done, total in calls), f"{stage}: {calls}"
        for (before, _), (after, _) in pairwise(calls):
            assert before <= after or calls[0][0] >= after, f"{stage} goes back from {before} to {after}"
