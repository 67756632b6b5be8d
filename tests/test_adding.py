"""docs/adding-a-tracker.md: its tracker meets the contract, and goes in as an object and by name."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.test_readme import ROOT, _blocks
from tests.trackers import test_contract as contract
from tests.trackers.textures import T, covered, shifting
from trackime import load, segmenters, trackers
from trackime.segmenters.graphcut import GraphCut
from trackime.video import VideoWriter
from trackime_apps.cli import cli

PAGE = ROOT / "docs" / "adding-a-tracker.md"
MODULE, USE = _blocks(PAGE, "python")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with the page's module and entry points, and a working folder with clip.mp4."""
    code = tmp_path / "my_package"
    code.mkdir()
    (code / "__init__.py").touch()
    (code / "tracker.py").write_text(MODULE)
    (code / "segmenter.py").write_text("from trackime.segmenters.graphcut import GraphCut as MySegmenter\n")
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    groups = [tomllib.loads(block)["project"]["entry-points"] for block in _blocks(PAGE, "toml")]
    lines = [f"[{g}]\n{n} = {v}\n" for group in groups for g, rows in group.items() for n, v in rows.items()]
    (info / "entry_points.txt").write_text("".join(lines))
    with VideoWriter(tmp_path / "clip.mp4", 128, 96, fps=25, crf=4) as writer:
        for frame in (shifting(2, -1)[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
            writer.write(np.ascontiguousarray(frame))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    assert "mine" in {e.name for e in entry_points(group="trackime.trackers")}
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def test_it_meets_the_contract(package: Path) -> None:
    tracker = trackers.create("mine")
    for check in (
        contract.test_shapes_and_ranges,
        contract.test_no_queries_and_no_clips_of_one_frame_fail,
        contract.test_the_query_frame_returns_the_query,
        contract.test_before_its_query_a_point_rests_hidden,
        contract.test_who_is_fed_windows,
        contract.test_a_batch_is_its_clips,
        contract.test_reversing_the_video_reverses_the_tracks,
        contract.test_a_still_video_stays,
        contract.test_translation_is_recovered,
    ):
        check(tracker)
    features = tracker.encode(covered())
    whole = tracker.advance(tracker.open(contract.QUERIES, features.size), features)
    state, parts = tracker.open(contract.QUERIES, features.size), []
    for t0 in range(0, T, 4):
        *part, state = tracker.advance(state, features.window(t0, min(T, t0 + 4)))
        parts.append(part)
    assert all(torch.equal(torch.cat([p[i] for p in parts], 2), whole[i]) for i in range(2))


def test_as_an_object_and_by_name(package: Path) -> None:
    names: dict[str, object] = {}
    exec(USE, names)
    tracks = names["tracks"]
    steps = np.arange(T)[None] - np.array([[0], [3]])
    true = np.array([[40.5, 30.5], [60.5, 20.5]])[:, None] + steps[..., None] * np.array([2.0, -1.0])
    assert np.abs(tracks.xy - true).max() < 1.0 and tracks.visible.all()  # type: ignore[attr-defined]
    line = ["track", "clip.mp4", "--tracker", "mine", "--segmenter", "mine", "--point", "40.5,30.5", "-o", "out"]
    result = CliRunner().invoke(cli, [*line, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    found = load(package / "out" / "tracks.npz")
    np.testing.assert_allclose(found.xy[0], tracks.xy[0], atol=1.0)  # type: ignore[attr-defined]


def test_segmenters_in_the_same_way(package: Path) -> None:
    assert isinstance(segmenters.create("mine", device="cpu"), GraphCut)


def test_a_factory_without_a_device(package: Path) -> None:
    module = package / "my_package" / "tracker.py"
    bare = MODULE.replace('    def __init__(self, device="cpu"):\n        self.device = torch.device(device)\n\n', "")
    assert bare != MODULE
    module.write_text(bare)
    for device in ("cpu", "cuda"):
        assert trackers.create("mine", device=device).device == torch.device("cpu")
