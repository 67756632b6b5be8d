"""Every format: what it keeps survives the way out and back; what cannot be read is one line."""

from __future__ import annotations

import json
import pickle
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trackime import formats
from trackime.errors import FormatError, InputError, MissingExtraError, OutputError, UnknownNameError
from trackime.types import Queries, Tracks, VideoInfo

LOSSLESS = ("npz", "csv", "json")
TEXT = ("nuke", "aftereffects", "syntheyes", "3de", "blender")
WITHOUT_EXTRAS = tuple(n for n in formats.formats() if n != "rerun")


def suffix(name: str) -> str:
    return formats.formats()[name].suffix


def make_tracks(n: int = 5, t: int = 7, width: int = 320, height: int = 241, seed: int = 0) -> Tracks:
    rng = np.random.default_rng(seed)
    info = VideoInfo(width, height, np.cumsum(rng.uniform(0.01, 0.1, t)), source='a "b" {start} $x\n#.mp4')
    xy = rng.uniform(-20, 340, (n, t, 2)).astype(np.float32)
    visibility = rng.uniform(0, 1, (n, t)).astype(np.float32)
    queries = Queries(
        np.column_stack([rng.uniform(0, 240, (n, 2)), rng.integers(0, max(t, 1), n)]), rng.integers(-1, 9, n)
    )
    return Tracks(xy, visibility, queries, info)


def assert_same(a: Tracks, b: Tracks) -> None:
    np.testing.assert_array_equal(a.xy, b.xy)
    np.testing.assert_array_equal(a.visibility, b.visibility)
    np.testing.assert_array_equal(a.queries.xyt, b.queries.xyt)
    np.testing.assert_array_equal(a.instance, b.instance)
    np.testing.assert_array_equal(a.video.pts, b.video.pts)
    assert (a.video.width, a.video.height) == (b.video.width, b.video.height)
    assert (a.video.names, a.video.source) == (b.video.names, b.video.source)


def refused(path: Path, name: str | None = None, **options: Any) -> str:
    with pytest.raises(FormatError) as caught:
        formats.load(path, name, **options)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


# ---- bad input


@pytest.mark.parametrize("name", [f for f, about in formats.formats().items() if about.loads])
class TestUnreadable:
    def test_missing(self, tmp_path: Path, name: str) -> None:
        assert "no such file" in refused(tmp_path / f"x{suffix(name)}")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\n",
            b"garbage",
            b"\x00\xff\xfe" * 50,
            b"PK\x03\x04 not a zip",
            b"{",
            b"[]",
            b"[" * 100_000,
            b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
            b'{"schema": "trackime-tracks/1"}',
            b"# trackime-tracks/1 width=4 height=4\n",
        ],
        ids=lambda c: repr(c[:12]),
    )
    def test_garbage(self, tmp_path: Path, name: str, content: bytes) -> None:
        path = tmp_path / f"x{suffix(name)}"
        path.write_bytes(content)
        refused(path)

    def test_folder(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / f"x{suffix(name)}"
        path.mkdir()
        refused(path)

    def test_truncated(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / f"x{suffix(name)}"
        formats.save(make_tracks(), path)
        whole = path.read_bytes()
        for share in (0.2, 0.5, 0.9):
            path.write_bytes(whole[: int(len(whole) * share)])
            refused(path)

    def test_pickled_objects_are_not_loaded(self, tmp_path: Path, name: str) -> None:
        class Trap:
            def __reduce__(self) -> Any:
                return pytest.fail, ("a pickle was executed",)

        path = tmp_path / f"x{suffix(name)}"
        path.write_bytes(pickle.dumps(Trap()))
        refused(path)
        with open(path, "wb") as file:
            trap = np.array([Trap()], dtype=object)
            keys = ("schema", "xy", "visibility", "queries", "instance", "size", "pts", "names", "source")
            np.savez(file, **{k: trap for k in (*keys, "points", "occluded")})
        refused(path)


def test_npz_of_another_schema_or_lacking_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros(3))
    assert "missing schema" in refused(path)
    formats.save(make_tracks(), path)
    with np.load(path) as file:
        data = dict(file)
    np.savez(path, **{**data, "schema": np.array("trackime-tracks/99")})
    assert "trackime-tracks/99" in refused(path)
    np.savez(path, **{**data, "size": np.array([1, 2, 3])})
    refused(path)
    np.savez(path, **{**data, "xy": data["xy"] * np.nan})
    assert "finite" in refused(path)
    np.save(tmp_path / "y.npy", np.zeros(3))
    assert "single array" in refused(tmp_path / "y.npy", "npz")


@pytest.mark.parametrize("name", LOSSLESS)
def test_names_never_leave_a_folder(tmp_path: Path, name: str) -> None:
    good = make_tracks(1, 2)
    path = tmp_path / f"x{suffix(name)}"
    formats.save(good, path)
    if name == "npz":
        with np.load(path) as file:
            data = dict(file)
        np.savez(path, **{**data, "names": np.array(["../evil", "b"])})
    else:
        path.write_text(path.read_text().replace('"00000"', '"../evil"'))
    assert "'../evil'" in refused(path)


CSV_HEAD = "# trackime-tracks/1 width=10 height=8\n"
CSV_COLUMNS = "query,instance,frame,time,x,y,visibility\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("query,instance\n", "width=W height=H"),
        ("# trackime-tracks/2 width=1 height=1\n" + CSV_COLUMNS, "trackime-tracks/1"),
        (CSV_HEAD + "a,b\n1,2\n", "missing query"),
        (CSV_HEAD + CSV_COLUMNS.replace(",time", "") + "0,-1,0,1,1,1\n", "missing time"),
        (CSV_HEAD + CSV_COLUMNS + "0,-1,0,0\n", "7 columns, got 4"),
        (CSV_HEAD + CSV_COLUMNS + "0,-1,0,0,x,1,1\n", "could not convert"),
        (CSV_HEAD + CSV_COLUMNS + "0,-1,0,0,nan,1,1\n", "finite"),
        (CSV_HEAD + CSV_COLUMNS + "0,-1,0,0,1e300,1,1\n", "finite"),
        (CSV_HEAD + CSV_COLUMNS + "0,-1,0,0,1,1,1.5\n", "probabilities"),
        (CSV_HEAD + CSV_COLUMNS + "0,-1,0,0,1,1,1\n0,-1,0,0,1,1,1\n", "expected a row for each"),
        (CSV_HEAD + CSV_COLUMNS + "0,-1,1,0,1,1,1\n", "counted from 0"),
        (CSV_HEAD + CSV_COLUMNS + "0,-1,0,0,1,1,1\n1,-1,1,0,1,1,1\n", "expected a row for each"),
        (CSV_HEAD + CSV_COLUMNS + "999999999999,-1,0,0,1,1,1\n", "counted from 0"),
        (CSV_HEAD + CSV_COLUMNS + "-1,-1,0,0,1,1,1\n", "whole numbers"),
        (CSV_HEAD + CSV_COLUMNS + "0,0.5,0,0,1,1,1\n", "instance"),
        (CSV_HEAD + "# queries 3\n" + CSV_COLUMNS + "0,1,0,0,1,1,1\n", "csv of tracks"),
        (CSV_HEAD + '# video {"pts": [0, 0], "names": [], "source": ""}\n' + CSV_COLUMNS, "increasing"),
        (CSV_HEAD.replace("10", "0") + CSV_COLUMNS + "0,1,0,0,1,1,1\n", "0x8"),
    ],
)
def test_bad_csv(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content)
    assert said in refused(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "other"}, "'other'"),
        ({"tracks": 3}, "json of tracks"),
        ({"video": []}, "json of tracks"),
        ({"tracks": [{"query": [1, 2, 0], "instance": 0, "xy": [[1, 2]], "visibility": [1]}]}, "json of tracks"),
        ({"tracks": [{"query": [1, 2, 0.5], "instance": 0, "xy": [[1, 2]] * 2, "visibility": [1, 1]}]}, "0.5"),
        ({"tracks": [{"query": [1, 2, 0], "instance": 0, "xy": [[1, 2]] * 2, "visibility": [1, 7]}]}, "[0, 1]"),
        ({"tracks": [{"query": [1, 2, 0], "instance": 2**40, "xy": [[1, 2]] * 2, "visibility": [1, 1]}]}, "instance"),
        ({"tracks": [{"query": [1, 2, 0], "instance": 0, "xy": [[1, 2], [1]], "visibility": [1, 1]}]}, "json"),
        ({"tracks": [{"query": [1, 2, 0], "instance": 0, "xy": [[1, 2], [1e300, 1]], "visibility": [1, 1]}]}, "finite"),
        ({"tracks": [{"query": [1, 2, 0], "instance": 0, "xy": [[1, 2], [1, float("nan")]]}]}, "NaN"),
    ],
)
def test_bad_json(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "x.json"
    formats.save(make_tracks(1, 2), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert said in refused(path)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"points": np.zeros((2, 3, 2))}, "missing occluded"),
        ({"points": np.zeros((2, 3, 3)), "occluded": np.zeros((2, 3), bool)}, "[N, T, 2]"),
        ({"points": np.zeros((2, 3, 2)), "occluded": np.zeros((2, 4), bool)}, "[2, 4]"),
        ({"points": np.zeros((2, 3, 2)), "occluded": np.zeros((2, 3), bool)}, "width= and height="),
        ({"points": np.full((2, 3, 2), np.nan), "occluded": np.zeros((2, 3)), "size": [4, 4]}, "finite"),
        ({"points": np.zeros((2, 0, 2)), "occluded": np.zeros((2, 0)), "size": [4, 4]}, "frame"),
    ],
)
def test_bad_tapvid(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    path = tmp_path / "x.tapvid.npz"
    np.savez(path, **arrays)
    assert said in refused(path)


def test_unknown_names_and_options(tmp_path: Path) -> None:
    tracks = make_tracks(1, 2)
    with pytest.raises(UnknownNameError, match=r"\.xyz.*\.npz.*\.nk"):
        formats.save(tracks, tmp_path / "a.xyz")
    with pytest.raises(UnknownNameError, match=r"tracks"):
        formats.load(tmp_path / "no_suffix")
    with pytest.raises(UnknownNameError, match=r"'maya'.*npz, csv"):
        formats.save(tracks, tmp_path / "a.npz", "maya")
    with pytest.raises(UnknownNameError, match=r"'nuke'.*npz, csv, json, tapvid$"):
        formats.load(tmp_path / "a.nk")
    with pytest.raises(InputError, match="takes no option 'fps': expected one of start_frame"):
        formats.save(tracks, tmp_path / "a.nk", fps=3)
    with pytest.raises(InputError, match="expected one of none"):
        formats.load(tmp_path / "a.csv", width=3)
    with pytest.raises(InputError, match="start_frame"):
        formats.save(tracks, tmp_path / "a.nk", start_frame=1.5)
    with pytest.raises(UnknownNameError, match="auto, position, point"):
        formats.save(tracks, tmp_path / "a.ae.txt", target="mask")
    with pytest.raises(InputError, match="together"):
        formats.load(tmp_path / "a.tapvid.npz", width=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WITHOUT_EXTRAS)
def test_atomic(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"x{suffix(name)}"
    path.mkdir()
    with pytest.raises(OutputError):
        formats.save(make_tracks(), path)
    assert list(tmp_path.iterdir()) == [path]
    path.rmdir()
    path.write_text("old")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        formats.save(make_tracks(), path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# ---- out and back


SHAPES = [(0, 0), (0, 4), (1, 1), (5, 7)]


@pytest.mark.parametrize("name", WITHOUT_EXTRAS)
@pytest.mark.parametrize(("n", "t"), SHAPES)
def test_every_shape(tmp_path: Path, name: str, n: int, t: int) -> None:
    tracks, path = make_tracks(n, t), tmp_path / "sub" / f"x{suffix(name)}"
    formats.save(tracks, path)
    assert path.exists()
    if name in LOSSLESS:
        assert_same(formats.load(path), tracks)
    named = tmp_path / "plain"
    formats.save(tracks, named, name)
    if name in TEXT or name in ("csv", "json"):
        assert named.read_bytes() == path.read_bytes()
    if formats.formats()[name].loads:
        assert len(formats.load(named, name)) == n


@pytest.mark.parametrize("name", LOSSLESS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_lossless(tmp_path: Path, name: str, data: st.DataObject) -> None:
    n, t = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 4))
    xy = data.draw(hnp.arrays(np.float32, (n, t, 2), elements=st.floats(-(2**60), 2**60, width=32)))
    visibility = data.draw(hnp.arrays(np.float32, (n, t), elements=st.floats(0, 1, width=32)))
    gaps = data.draw(hnp.arrays(np.float64, t, elements=st.floats(1e-6, 1e3)))
    names = data.draw(st.lists(st.text(st.characters(exclude_characters="/\\\0"), min_size=1), min_size=t, max_size=t))
    # numpy's text arrays drop trailing NULs; "." and ".." are folders.
    names = [f"f{name}" for name in names]
    source = data.draw(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
    names = [name.encode("utf-8", "replace").decode() for name in names]
    queries = Queries(np.column_stack([np.ones((n, 2)), np.zeros(n)]), data.draw(hnp.arrays(np.int32, n)))
    tracks = Tracks(xy, visibility, queries, VideoInfo(7, 5, np.cumsum(gaps), tuple(names), source))
    path = tmp_path / f"x{suffix(name)}"
    formats.save(tracks, path)
    assert_same(formats.load(path), tracks)


def test_csv_is_a_plain_table(tmp_path: Path) -> None:
    tracks, path = make_tracks(2, 3), tmp_path / "x.csv"
    formats.save(tracks, path)
    table = np.genfromtxt(path, delimiter=",", comments="#", names=None, skip_header=4)
    assert path.read_text().splitlines()[3] == "query,instance,frame,time,x,y,visibility"
    np.testing.assert_allclose(table[:, 4:6].reshape(2, 3, 2), tracks.xy, rtol=1e-6)
    np.testing.assert_array_equal(table[:, 3].reshape(2, 3), np.tile(tracks.video.pts, (2, 1)))


def test_csv_made_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "x.CSV"
    path.write_text(
        "\ufeff" + CSV_HEAD + "# by hand\n" + "frame, query, note, time, x, y, visibility, instance\r\n"
        "1,0,7,0.5,3,4,0.9,2\r\n0,0,7,0.25,1,2,0,2\r\n",
        encoding="utf-8",
    )
    tracks = formats.load(path)
    assert tracks.queries.xyt.tolist() == [[3, 4, 1]]
    assert tracks.video.pts.tolist() == [0.25, 0.5] and tracks.instance.tolist() == [2]
    assert tracks.xy.tolist() == [[[1, 2], [3, 4]]]


def test_json_says_what_it_is(tmp_path: Path) -> None:
    tracks = Tracks([[[0.1, 2.5]]], [[1]], Queries([[0.1, 2.5, 0]]), VideoInfo.regular(4, 3, 1))
    formats.save(tracks, tmp_path / "x.json")
    data = json.loads((tmp_path / "x.json").read_text())
    assert data["schema"] == "trackime-tracks/1" and "(0.5, 0.5)" in data["convention"]
    assert data["tracks"] == [
        {"name": "p0000", "instance": -1, "query": [0.1, 2.5, 0], "xy": [[0.1, 2.5]], "visibility": [1.0]}
    ]


def test_tapvid(tmp_path: Path) -> None:
    tracks, path = make_tracks(), tmp_path / "x.tapvid.npz"
    formats.save(tracks, path)
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_allclose(file["points"] * [320, 241], tracks.xy, atol=1e-3)
        np.testing.assert_array_equal(file["occluded"], tracks.visibility <= 0.5)
        np.testing.assert_array_equal(file["query_points"], tracks.queries.xyt[:, [2, 1, 0]])
        bare = {"points": file["points"], "occluded": file["occluded"]}
    back = formats.load(path)
    np.testing.assert_allclose(back.xy, tracks.xy, atol=1e-3)
    np.testing.assert_array_equal(back.visible, tracks.visible)
    np.testing.assert_array_equal(back.queries.xyt, tracks.queries.xyt)
    np.testing.assert_array_equal(back.video.pts, tracks.video.pts)
    np.testing.assert_array_equal(back.instance, tracks.instance)

    bare["points"][bare["occluded"]] = np.nan
    np.savez(path, **bare)
    given_size = formats.load(path, width=320, height=241, fps=10)
    np.savez(path, **bare, video=np.zeros((7, 241, 320, 3), np.uint8))
    from_video = formats.load(path)
    for back in (given_size, from_video):
        assert (back.video.width, back.video.height) == (320, 241)
        np.testing.assert_allclose(back.xy[tracks.visible], tracks.xy[tracks.visible], atol=1e-3)
        first = tracks.visible.argmax(1)
        np.testing.assert_array_equal(back.queries.t, first)
        np.testing.assert_allclose(back.queries.xy, back.xy[np.arange(5), first])
    assert given_size.video.fps == pytest.approx(10)


# ---- other programs' formats, read by parsers written apart from the writers

Keys = dict[int, dict[int, tuple[float, float]]]  # track -> frame from 0 -> our pixels


def read_nuke(text: str, start: int, height: int) -> tuple[Keys, dict[int, dict[int, int]]]:
    # A Tcl list is balanced braces: parse it as such and take the cells by the names in the header.
    tokens = re.findall(r'"[^"]*"|[{}]|[^\s{}"]+', text[text.index("Tracker4") :])
    stack: list[list[Any]] = [[]]
    for token in tokens:
        if token == "{":
            stack.append([])
        elif token == "}":
            stack[-2].append(stack.pop())
        else:
            stack[-1].append(token.strip('"'))
    (node,) = stack[0][1:]
    (version, columns, count), header, rows = node[node.index("tracks") + 1]
    assert (version, int(columns), int(count)) == ("1", len(header), len(rows))
    names = [column[3] for column in header]
    assert len(set(names)) == 31 and names[:4] == ["enable", "name", "track_x", "track_y"]

    def curve(cell: list[str]) -> dict[int, float]:
        items = [c for c in cell if c not in ("curve", "K")]
        return {int(f[1:]) - start: float(v) for f, v in zip(items[::2], items[1::2], strict=True)}

    keys: Keys = {}
    enable: dict[int, dict[int, int]] = {}
    for n, row in enumerate(rows):
        assert len(row) == 31 and row[1] == f"p{n:04d}"
        x, y = curve(row[2]), curve(row[3])
        assert x.keys() == y.keys()
        keys[n] = {t: (x[t], height - y[t]) for t in x}
        enable[n] = {t: int(v) for t, v in curve(row[0]).items()}
    return keys, enable


def read_after_effects(text: str) -> tuple[Keys, dict[str, str], list[str]]:
    lines = text.split("\n")
    assert lines[0] == "Adobe After Effects 8.0 Keyframe Data" and "End of Keyframe Data" in lines
    head, keys, blocks = {}, {}, []
    for line in lines[1 : lines.index("End of Keyframe Data")]:
        cells = line.strip("\t").split("\t")
        if line and not line.startswith("\t"):
            keys[len(blocks)] = {}
            blocks.append(line)
        elif line and not blocks:
            head[cells[0]] = cells[1]
        elif line and cells[0] != "Frame":
            keys[len(blocks) - 1][int(cells[0])] = (float(cells[1]), float(cells[2]))
    return keys, head, blocks


def read_syntheyes(text: str, width: int, height: int) -> tuple[Keys, dict[int, list[int]]]:
    keys: Keys = {}
    outcomes: dict[int, list[int]] = {}
    for line in text.splitlines():
        name, frame, u, v, outcome = line.split()
        n = int(name[1:])
        # -1 and +1 are the centres of the outermost pixels.
        x, y = (0.5 + (float(c) + 1) / 2 * (side - 1) for c, side in ((u, width), (v, height)))
        keys.setdefault(n, {})[int(frame)] = (x, y)
        outcomes.setdefault(n, []).append(int(outcome))
    return keys, outcomes


def read_3de(text: str, height: int) -> Keys:
    lines = iter(text.splitlines())
    keys: Keys = {}
    for n in range(int(next(lines))):
        assert next(lines) == f"p{n:04d}" and next(lines) == "0"
        rows = [next(lines).split() for _ in range(int(next(lines)))]
        keys[n] = {int(f) - 1: (float(x), height - float(y)) for f, x, y in rows}
    assert next(lines, None) is None
    return keys


def assert_keys(keys: Keys, tracks: Tracks) -> None:
    """A key in each visible frame, none elsewhere, positions within a thousandth of a pixel."""
    for n in range(len(tracks)):
        frames = np.flatnonzero(tracks.visible[n]).tolist()
        assert sorted(keys.get(n, {})) == frames
        for t in frames:
            np.testing.assert_allclose(keys[n][t], tracks.xy[n, t], atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("width", "height"), [(320, 241), (3840, 2160), (2, 2)])
def test_other_programs_read_our_pixels(tmp_path: Path, seed: int, width: int, height: int) -> None:
    tracks = make_tracks(4, 9, width, height, seed)
    for name in TEXT:
        formats.save(tracks, tmp_path / name, name)
    nuke, enable = read_nuke((tmp_path / "nuke").read_text(), 1, height)
    assert_keys(nuke, tracks)
    for n in range(4):
        held, now = [], None
        for t in range(9):
            now = enable[n].get(t, now)
            held.append(now)
        assert held == tracks.visible[n].astype(int).tolist()
    after, head, blocks = read_after_effects((tmp_path / "aftereffects").read_text())
    assert_keys(after, tracks)
    assert (head["Source Width"], head["Source Height"]) == (str(width), str(height))
    assert float(head["Units Per Second"]) == pytest.approx(tracks.video.fps, rel=1e-5)
    assert blocks == [f"Effects\tPoint Control #{n + 1}\tPoint #2" for n in range(4)]
    eyes, outcomes = read_syntheyes((tmp_path / "syntheyes").read_text(), width, height)
    assert_keys(eyes, tracks)
    for n, row in outcomes.items():
        seen = tracks.visible[n]
        again = [15 if t == 0 or not seen[t - 1] else 7 for t in range(9) if seen[t]]
        assert row == again
    assert_keys(read_3de((tmp_path / "3de").read_text(), height), tracks)


def test_corner_pixels_by_hand(tmp_path: Path) -> None:
    # The centres of the first and last pixel of a 4 x 3 frame.
    tracks = Tracks([[[0.5, 0.5], [3.5, 2.5]]], [[1, 1]], Queries([[0.5, 0.5, 0]]), VideoInfo.regular(4, 3, 2, 24))
    for name in TEXT:
        formats.save(tracks, tmp_path / name, name)
    nuke = (tmp_path / "nuke").read_text()
    assert "{curve x1 0.5000 x2 3.5000} {curve x1 2.5000 x2 0.5000}" in nuke and "{curve K x1 1}" in nuke
    syntheyes = (tmp_path / "syntheyes").read_text().splitlines()
    assert syntheyes == ["p0000 0 -1.000000000 -1.000000000 15", "p0000 1 1.000000000 1.000000000 7"]
    after = (tmp_path / "aftereffects").read_text()
    assert "\tUnits Per Second\t24\n" in after
    assert "Transform\tPosition\n\tFrame\tX pixels\tY pixels\tZ pixels\t\n\t0\t0.5000\t0.5000\t0\t\n" in after
    assert (tmp_path / "3de").read_text() == "1\np0000\n0\n2\n1 0.500000 2.500000\n2 3.500000 0.500000\n"


@pytest.mark.parametrize(("name", "first"), [("nuke", " x1001 "), ("aftereffects", "\t1001\t"), ("3de", "1001 ")])
def test_start_frame(tmp_path: Path, name: str, first: str) -> None:
    tracks = Tracks([[[1, 1]]], [[1]], Queries([[1, 1, 0]]), VideoInfo.regular(4, 3, 1))
    formats.save(tracks, tmp_path / "x", name, start_frame=1001)
    assert first in (tmp_path / "x").read_text()


def test_after_effects_positions_on_demand(tmp_path: Path) -> None:
    tracks = make_tracks(3, 5)
    formats.save(tracks, tmp_path / "x.ae.txt", target="position")
    keys, _, blocks = read_after_effects((tmp_path / "x.ae.txt").read_text())
    assert blocks == ["Transform\tPosition"] * 3
    assert_keys(keys, tracks)


def test_one_pixel_wide_syntheyes(tmp_path: Path) -> None:
    tracks = Tracks([[[0.5, 0.5]]], [[1]], Queries([[0.5, 0.5, 0]]), VideoInfo.regular(1, 1, 1))
    formats.save(tracks, tmp_path / "x.syntheyes.txt")
    assert (tmp_path / "x.syntheyes.txt").read_text() == "p0000 0 0.000000000 0.000000000 15\n"


# ---- Blender and rerun, played by small stand-ins


class FakeMarkers(dict):  # type: ignore[type-arg]
    def insert_frame(self, frame: int, *, co: tuple[float, float] = (0.0, 0.0)) -> SimpleNamespace:
        self[frame] = SimpleNamespace(co=co, mute=False)
        return self[frame]  # type: ignore[no-any-return]


class FakeTracks(list):  # type: ignore[type-arg]
    def new(self, *, name: str = "", frame: int = 1) -> SimpleNamespace:
        # As Blender: a new track has a marker in the middle of its first frame.
        track = SimpleNamespace(name=name, markers=FakeMarkers())
        track.markers.insert_frame(frame, co=(0.5, 0.5))
        self.append(track)
        return track


class FakeClips(list):  # type: ignore[type-arg]
    def __init__(self, nested: bool, loaded: int) -> None:
        self.nested, self.paths = nested, []  # type: tuple[bool, list[str]]
        super().__init__(self.load(str(i)) for i in range(loaded))

    def load(self, path: str) -> SimpleNamespace:
        self.paths.append(path)
        tracks = FakeTracks()
        inner = SimpleNamespace(objects=SimpleNamespace(active=SimpleNamespace(tracks=tracks)))
        clip = SimpleNamespace(tracking=inner if self.nested else SimpleNamespace(tracks=tracks), tracks=tracks)
        self.last = clip
        return clip


def run_in_blender(
    script: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], nested: bool = False, loaded: int = 0
) -> FakeClips:
    bpy = ModuleType("bpy")
    clips = FakeClips(nested, loaded)
    bpy.data = SimpleNamespace(movieclips=clips)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bpy", bpy)
    monkeypatch.setattr(sys, "argv", ["blender", "--python", str(script), *args])
    exec(compile(script.read_text(), str(script), "exec"), {"__name__": "__main__"})
    return clips


@pytest.mark.parametrize("nested", [False, True])
def test_blender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nested: bool) -> None:
    tracks, script, video = make_tracks(3, 5), tmp_path / "x.py", tmp_path / "v.mp4"
    formats.save(tracks, script)
    video.write_bytes(b"")
    clips = run_in_blender(script, monkeypatch, ["--", str(video)], nested)
    assert clips.paths == [str(video)]
    made = clips.last.tracks
    assert [t.name for t in made] == ["p0000", "p0001", "p0002"]
    for n, track in enumerate(made):
        assert sorted(track.markers) == [1, 2, 3, 4, 5]
        for t in range(5):
            marker = track.markers[t + 1]
            x, y = marker.co
            np.testing.assert_allclose([x * 320, (1 - y) * 241], tracks.xy[n, t], atol=1e-3)
            assert marker.mute == (not tracks.visible[n, t])


def test_blender_finds_its_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, script = tmp_path / "o'v\" $start.mp4", tmp_path / "x.py"
    video.write_bytes(b"")
    info = VideoInfo(4, 3, np.arange(1.0), source=str(video))
    formats.save(Tracks([[[1, 1]]], [[1]], Queries([[1, 1, 0]]), info), script)
    assert run_in_blender(script, monkeypatch, []).paths == [str(video)]
    video.unlink()
    assert len(run_in_blender(script, monkeypatch, [], loaded=1)[0].tracks) == 1
    with pytest.raises(SystemExit, match="no such video"):
        run_in_blender(script, monkeypatch, [])
    with pytest.raises(SystemExit, match=r"nowhere\.mp4"):
        run_in_blender(script, monkeypatch, ["--", "nowhere.mp4"], loaded=1)


def test_rerun_without_rerun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingExtraError, match=r"trackime\[rerun\]"):
        formats.save(make_tracks(), tmp_path / "x.rrd")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("n", [0, 4])
def test_rerun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modern: bool, n: int) -> None:
    log: list[tuple[Any, ...]] = []

    class Recording:
        def __init__(self, application: str) -> None:
            self.now: dict[str, float] = {}

        def save(self, path: str) -> None:
            Path(path).write_bytes(b"rrd")

        def log(self, entity: str, points: Any) -> None:
            log.append((dict(self.now), entity, *points))

        def disconnect(self) -> None:
            log.append(("closed",))

    if modern:
        Recording.set_time = lambda self, name, **at: self.now.update({name: next(iter(at.values()))})  # type: ignore
    else:
        Recording.set_time_sequence = lambda self, name, at: self.now.update({name: at})  # type: ignore
        Recording.set_time_seconds = lambda self, name, at: self.now.update({name: at})  # type: ignore
    module = ModuleType("rerun")
    module.RecordingStream = Recording  # type: ignore[attr-defined]
    module.Points2D = lambda xy, colors, radii: (xy, colors)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rerun", module)
    tracks = make_tracks(n, 3)
    formats.save(tracks, tmp_path / "x.rrd")
    assert (tmp_path / "x.rrd").read_bytes() == b"rrd" and log.pop() == ("closed",)
    for t, (now, entity, xy, colours) in enumerate(log):
        assert now == {"frame": t, "time": tracks.video.pts[t]} and entity == "tracks"
        np.testing.assert_array_equal(xy, tracks.xy[tracks.visible[:, t], t])
        assert colours.shape == (len(xy), 3) and colours.dtype == np.uint8
