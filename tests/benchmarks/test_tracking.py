"""The benchmark commands run, and say what they were run on. Small enough to score nothing worth quoting."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks import solver as solver_benchmark
from benchmarks import splatting, vos_cases, vos_oracles
from benchmarks import vos as vos_benchmark
from benchmarks.__main__ import main
from trackime.errors import FormatError
from trackime.ime import ImeConfig
from trackime.types import Queries, Tracks
from trackime.video import write_mask
from trackime.worlds import make_world
from trackime_apps.interp import splat
from trackime_apps.vos import VosConfig

SMALL = ("--seeds", "1", "--size", "96x64", "--frames", "4", "--points", "4", "--objects", "2")


def run(*args: str, path) -> dict:
    result = CliRunner().invoke(main, [*args, "--json", str(path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(path.read_text())


@pytest.mark.parametrize("table", ["components", "overall", "weights", "sharing"])
def test_tracking(table, tmp_path):
    got = run("tracking", "--tracker", "lk", "--table", table, *SMALL, path=tmp_path / "a.json")
    rows = {"components": 6, "overall": 2, "weights": 3, "sharing": 2}[table]
    assert len(got["rows"]) == rows
    assert all(0 <= row["d_avg"] <= 100 for row in got["rows"])
    assert got["machine"]["cores"] >= 1 and got["command"][:3] == ["python", "-m", "benchmarks"]


def test_trajectories(tmp_path):
    got = run("tracking", "--tracker", "lk", "--table", "trajectories", *SMALL, path=tmp_path / "a.json")
    assert [row["tracker"] for row in got["rows"]] == ["lk", "lk + TrackIME"]
    for row in got["rows"]:
        assert 0 <= row["survival"] <= 100 and all(row[name] >= 0 for name in ("MTE", "TC", "DAG"))


def test_tracking_on_held_out_worlds(tmp_path):
    typed = ("--tracker", "lk", "--table", "overall", "--held-out", "--seeds", "2", "--size", "96x64", "--frames", "12")
    got = run("tracking", *typed, "--points", "16", path=tmp_path / "a.json")
    assert "96x64" in got["title"] and [row["tracker"] for row in got["rows"]] == ["lk", "lk + TrackIME"]
    for row in got["rows"]:
        assert row["visible_px"] < row["hidden_px"]
        assert row["returns"] == 0 or 0 <= row["found"] <= 100


def test_tracking_on_scans(tmp_path):
    """A textured wall before a camera that moves sideways: points are where depth and poses say."""
    rng, wall = np.random.default_rng(0), tmp_path / "wall"
    picture = cv2.resize(rng.integers(0, 256, (24, 80, 3), np.uint8), (320, 96), interpolation=cv2.INTER_CUBIC)
    for name in ("color", "depth"):
        (wall / name).mkdir(parents=True)
    for t in range(5):
        cv2.imwrite(str(wall / "color" / f"{t:05d}.jpg"), picture[:, 8 * t : 8 * t + 128])
        cv2.imwrite(str(wall / "depth" / f"{t:05d}.png"), np.full((96, 128), 2000, np.uint16))
    poses = [np.eye(4) + np.array([[0, 0, 0, 0.16 * t], *np.zeros((3, 4))]) for t in range(5)]
    np.savetxt(wall / "poses_c2w.txt", np.reshape(poses, (5, 16)))
    np.savetxt(wall / "K.txt", [[100, 0, 63.5], [0, 100, 47.5], [0, 0, 1]])
    typed = ("tracking", "--tracker", "lk", "--table", "overall", "--rgbd", str(wall), "--points", "24")
    plain = run(*typed, path=tmp_path / "a.json")["rows"][0]
    assert plain["d_avg"] > 90 and plain["visible_px"] < 2
    result = CliRunner().invoke(main, [*typed, "--held-out"])
    assert result.exit_code == 2 and "exclude each other" in result.output


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    """One sequence in the plain DAVIS layout, from a world."""
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


def test_vos_says_what_is_wrong(davis, tmp_path):
    world, sprites = ("--worlds", "1"), tmp_path / "sprites"
    sprites.mkdir()
    for typed, said in (
        ((), "expected one of --davis, --worlds, --clip"),
        ((*world, "--davis", str(davis)), "expected one of --davis, --worlds, --clip"),
        (("--clip", str(davis / "world" / "frames")), "--clip and --sprites together"),
        ((*world, "--set", "no=3"), "expected NAME=VALUE with a name of points"),
        ((*world, "--set", "flow=maybe"), "flow: expected a value such as True, got 'maybe'"),
        ((*world, "--variant", "points"), "expected NAME=VALUE"),
        (("--davis", str(davis), "--pair", "world"), "expected the names of two sequences"),
        (("--davis", str(davis), "--sequence", "gone"), "no sequence 'gone'"),
        (("--clip", str(davis / "world" / "frames"), "--sprites", str(sprites)), "expected pictures with an alpha"),
    ):
        result = CliRunner().invoke(main, ["vos", *typed])
        assert result.exit_code and said in result.output + str(result.exception), (typed, result.output)


def test_vos_on_worlds_with_several_objects(tmp_path):
    small = ("--worlds", "1", "--size", "96x64", "--frames", "4", "--objects", "3", "--set", "points=6,negatives=0")
    got = run("vos", "--tracker", "lk", *small, path=tmp_path / "a.json")
    case = next(vos_cases.worlds(1, (96, 64), 4, 3))
    assert len(case.ids) > 1 and [row["objects"] for row in got["rows"]] == 2 * [len(case.ids)]
    assert {"J", "J recall", "J decay", "F", "F recall", "F decay", "J&F", "J&F DIS + cut"} < set(got["rows"][1])
    clicked = run("vos", "--tracker", "lk", *small, "--clicks", "5", path=tmp_path / "b.json")
    assert "5 clicks" in clicked["title"] and clicked["rows"][0]["J&F"] > 20


def test_vos_ablation(tmp_path):
    small = ("--worlds", "1", "--size", "96x64", "--frames", "4", "--objects", "2", "--set", "points=4")
    got = run(
        "vos", "--tracker", "lk", *small, "--ablate", "--reuse-tracks", "--variant", "flow=off,band=20",
        path=tmp_path / "a.json",
    )  # fmt: skip
    rows = {row["variant"]: row for row in got["rows"]}
    assert list(rows)[:3] == ["full", "no tracks", "no flow"] and list(rows)[-1] == "flow=off,band=20"
    assert {"no negatives", "no colours", "no propagated shape", "no seeds", "points at random"} < set(rows)
    assert rows["full"]["difference"] == 0 and got["J&F by sequence"]["world 0"].keys() == rows.keys()


def test_vos_oracles(davis, tmp_path):
    small = ("--worlds", "1", "--size", "96x64", "--frames", "5", "--objects", "2", "--set", "points=8")
    got = run("vos", "--tracker", "lk", *small, "--oracles", path=tmp_path / "a.json")
    rows = {row["steps"]: row["J&F"] for row in got["rows"]}
    assert list(rows)[:3] == ["unchanged", "wrong points hidden", "our tracks, true masks"] and len(rows) == 5
    # With nothing but truth nothing is lost, whatever the rest does.
    assert rows["true tracks, true masks"] > 95 and rows["unchanged"] <= rows["true tracks, true masks"]
    real = run("vos", "--tracker", "lk", "--davis", str(davis), "--oracles", path=tmp_path / "b.json")
    assert [row["steps"] for row in real["rows"]] == list(rows)[:3]  # no true tracks there
    result = CliRunner().invoke(main, ["vos", "--davis", str(davis), "--oracles", "--ablate"])
    assert result.exit_code == 2 and "--oracles and --ablate" in result.output


def test_wrong_points_are_hidden():
    case = next(vos_cases.worlds(1, (96, 64), 4, 2))
    ids = np.asarray(case.truth[0])
    y, x = np.argwhere(ids == case.ids[0])[0]
    queries = Queries([(x + 0.5, y + 0.5, 0)] * 2, np.array([case.ids[0], 0]))
    still = Tracks(np.repeat(queries.xy[:, None], 4, 1), np.ones((2, 4)), queries, case.video.info)
    got = vos_oracles.right_alone(still, case).visibility
    assert got[:, 0].tolist() == [1, 0]
    assert got[0].tolist() == [float(np.asarray(m)[y, x] == case.ids[0]) for m in case.truth]


def test_shared_tracks_change_nothing():
    case = next(vos_cases.worlds(1, (96, 64), 4, 2))
    ime, runs = ImeConfig(cuts=False), []
    for reuse in (False, True):
        bench = vos_benchmark.Bench("lk", "graphcut", "cpu", ime, reuse=reuse)
        runs.append([bench.run(case, VosConfig(points=4, band=band))[0] for band in (40.0, 20.0)])
    assert all((a == b).all() for one, two in zip(*runs, strict=True) for a, b in zip(one, two, strict=True))


def test_vos_pair_and_merge(davis, tmp_path):
    for t in range(5):
        image = np.zeros((64, 96), np.uint8)
        image[5:25, 10 + t : 30 + t], image[40:50, 60:80] = 1, 2
        write_mask(tmp_path / "two" / "masks" / f"{t:05d}.png", image)
        folder = tmp_path / "two" / "frames"
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{t:05d}.jpg"), np.full((64, 96, 3), 200, np.uint8))
    shutil.copytree(davis / "world", tmp_path / "world")
    case = next(iter(vos_cases.davis(str(tmp_path), None, None, (), ["world,two"], 1.0)))
    assert case.name == "two over world" and case.ids == (1, 2) and len(case.truth) == 5
    pasted = case.truth[2] == 2
    assert pasted[10, 20] and pasted[45, 70] and (abs(case.video[2][pasted].astype(int) - 200) < 3).all()
    merged = next(iter(vos_cases.davis(str(tmp_path), None, 2016, ["two"], (), 0.5)))
    assert merged.ids == (1,) and merged.truth[0].shape == (32, 48) and merged.video.info.width == 48
    (tmp_path / "two" / "masks" / "00003.png").unlink()
    with pytest.raises(FormatError):
        list(vos_cases.davis(str(tmp_path), None, None, ["two"], (), 1.0))


def test_composites(davis, tmp_path):
    sprite = np.zeros((30, 40, 4), np.uint8)
    sprite[5:25, 5:35] = (10, 250, 20, 255)
    cv2.imwrite(str(tmp_path / "green.png"), sprite)
    clip = str(davis / "world" / "frames")
    cases = list(vos_cases.composites([clip], str(tmp_path), 3, (96, 64), 4, 2))
    assert cases and all(case.ids == (1,) and len(case.video) == len(case.truth) == 4 for case in cases)
    again = next(iter(vos_cases.composites([clip], str(tmp_path), 3, (96, 64), 4, 2)))
    for t, mask in enumerate(cases[0].truth):
        core = cv2.erode((mask == 1).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert (abs(cases[0].video[t][core].astype(int) - [20, 250, 10]) < 4).all()
        assert (again.truth[t] == mask).all() and (again.video[t] == cases[0].video[t]).all()


def test_in_mask_survival(davis, tmp_path):
    got = run("tracking", "--tracker", "lk", "--davis", str(davis), path=tmp_path / "a.json")
    assert [row["tracker"] for row in got["rows"]] == ["lk", "lk + TrackIME"]
    assert all(0 <= row["mean"] <= 100 and 0 <= row["last"] <= 100 for row in got["rows"])
    assert all(np.isnan(row["frame 10"]) for row in got["rows"])  # there are five frames


def test_memory(tmp_path):
    got = run(
        "memory", "--tracker", "lk", "--frames", "80", "--size", "96x64", "--points", "3", path=tmp_path / "a.json"
    )
    assert got["rows"][-1]["stage"] == "whole run" and got["rows"][-1]["first_half_MiB"] > 50


def test_solver(tmp_path):
    got = run("solver", "--frames", "4", "--frames", "6", "--matches", "200", "--grid", "6x4", path=tmp_path / "a.json")
    rows = got["rows"]
    assert [row["frames"] for row in rows] == ["4", "6", "exponent"]
    assert [row["pairs"] for row in rows[:2]] == [10, 20]
    assert all(row["delta1_percent"] > 95 and row["position_percent"] < 3 for row in rows[:2])
    assert solver_benchmark.exponent((1, 2, 4), (3, 12, 48)) == pytest.approx(2)


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


def test_splatting(tmp_path):
    got = run("splatting", "--size", "64x48", "--threads", "1", "--runs", "1", path=tmp_path / "a.json")
    rows = {row["what"]: row for row in got["rows"]}
    assert list(rows)[:6] == ["copy", "plain sum", "sum", "average", "linear", "softmax"]
    assert all(row["seconds"] > 0 for row in got["rows"])
    plane = 64 * 48 * 4 / 1e6
    assert [rows[name]["MB"] for name in ("copy", "sum", "softmax", "softmax, sums")] == pytest.approx(
        [8 * plane, 10 * plane, 11 * plane, 12 * plane]
    )
    values, flow, _ = splatting.scene((64, 48), 3, "cpu")
    torch.testing.assert_close(splatting.plain(values, flow), splat(values, flow, "sum"), rtol=1e-4, atol=1e-4)
    assert rows["sum"]["times_floor"] == pytest.approx(rows["sum"]["seconds"] / rows["sum"]["floor_seconds"])
