"""The benchmark commands run, and say what they were run on. Small enough to score nothing worth quoting."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from trackime.maskio import write_mask
from trackime.worlds import make_world

SMALL = ("--seeds", "1", "--size", "96x64", "--frames", "4", "--points", "4", "--objects", "2")


def run(*args: str, path) -> dict:
    result = CliRunner().invoke(main, [*args, "--json", str(path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(path.read_text())


@pytest.mark.parametrize("table", ["components", "weights", "sharing"])
def test_tracking(table, tmp_path):
    got = run("tracking", "--tracker", "lk", "--table", table, *SMALL, path=tmp_path / "a.json")
    rows = {"components": 6, "weights": 3, "sharing": 2}[table]
    assert len(got["rows"]) == rows
    assert all(0 <= row["d_avg"] <= 100 for row in got["rows"])
    assert got["machine"]["cores"] >= 1 and got["command"][:3] == ["python", "-m", "benchmarks"]


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    """One sequence in the plain DAVIS layout, from a world."""
    import cv2

    root = tmp_path_factory.mktemp("davis")
    world = make_world(seed=3, width=96, height=64, frames=5, objects=1, speed=1, leaving=0)
    for t in range(5):
        folder = root / "world"
        (folder / "frames").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "frames" / f"{t:05d}.jpg"), world.video[t][..., ::-1])
        write_mask(folder / "masks" / f"{t:05d}.png", np.minimum(world.masks[t], 1))
    return root


def test_vos(davis, tmp_path):
    got = run(
        "vos", "--tracker", "lk", "--davis", str(davis), "--out", str(tmp_path / "masks"), path=tmp_path / "a.json"
    )
    assert [row["sequence"] for row in got["rows"]] == ["world", "mean over objects"]
    assert got["rows"][1]["J&F"] > 50
    assert len(list((tmp_path / "masks" / "world").glob("*.png"))) == 5


def test_in_mask_survival(davis, tmp_path):
    got = run("tracking", "--tracker", "lk", "--davis", str(davis), path=tmp_path / "a.json")
    assert [row["tracker"] for row in got["rows"]] == ["lk", "lk + TrackIME"]
    assert all(0 <= row["mean"] <= 100 for row in got["rows"])


def test_memory(tmp_path):
    got = run(
        "memory", "--tracker", "lk", "--frames", "80", "--size", "96x64", "--points", "3", path=tmp_path / "a.json"
    )
    assert got["rows"][-1]["stage"] == "whole run" and got["rows"][-1]["first_half_MiB"] > 50


def test_networks(tmp_path):
    size = ("--frames", "2", "--queries", "3", "--query-chunk", "2", "--small-chunk", "1")
    got = run("networks", "--tracker", "tapnet", *size, path=tmp_path / "a.json")
    assert [(row["way"], row["chunk"], row["encoded"]) for row in got["rows"]] == [
        ("shared", 2, 2),
        ("shared", 1, 2),
        ("all at once", 3, 2),
        ("encoded anew", 2, 4),
        ("anew, plain operations", 2, 4),
    ]
    assert all(row["differs_px"] < 1e-3 and row["seconds"] > 0 for row in got["rows"])
    result = CliRunner().invoke(main, ["networks", "--tracker", "lk"])
    assert "lk has no network to fill" in str(result.exception)
