"""VideoInfo, Queries, Tracks and the small modules they stand on: bad input first, then what always holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trackime.errors import FormatError, InputError, ShapeError, TrackimeError
from trackime.types import Queries, Tracks, VideoInfo


def make_tracks(n: int = 4, t: int = 6, seed: int = 0) -> Tracks:
    rng = np.random.default_rng(seed)
    queries = Queries(np.column_stack([rng.uniform(0, 30, (n, 2)), np.arange(n) % t]), np.arange(n))
    info = VideoInfo.regular(32, 24, t, fps=30, source="a.mp4")
    return Tracks(rng.uniform(-5, 40, (n, t, 2)), rng.uniform(0, 1, (n, t)), queries, info)


class TestVideoInfo:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"width": 0}, "0x24"),
            ({"height": -3}, "32x-3"),
            ({"width": 3.5}, "3.5"),
            ({"width": float("nan")}, "nan"),
            ({"height": "24"}, "'24'"),
            ({"pts": [0, 0]}, "increasing"),
            ({"pts": [1, 0]}, "increasing"),
            ({"pts": [0, np.nan]}, "finite"),
            ({"pts": [0, np.inf]}, "finite"),
            ({"pts": [[0, 1]]}, r"\[T\]"),
            ({"pts": "abc"}, "numbers"),
            ({"names": ("a",)}, "2"),
            ({"names": ("a", "../b")}, "folders"),
            ({"names": ("a", "b/c")}, "folders"),
            ({"names": ("a", "b\\c")}, "folders"),
            ({"names": ("a", "..")}, "folders"),
            ({"names": ("a", "")}, "folders"),
            ({"names": ("a", "b\0")}, "folders"),
        ],
    )
    def test_bad(self, change: dict[str, Any], said: str) -> None:
        with pytest.raises(InputError, match=said) as caught:
            VideoInfo(**{"width": 32, "height": 24, "pts": [0, 1], **change})
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
    def test_bad_rate(self, fps: float) -> None:
        with pytest.raises(InputError, match="fps"):
            VideoInfo.regular(4, 4, 3, fps)

    @pytest.mark.parametrize(("frames", "fps"), [(0, 25), (1, 25), (2, 50), (9, 50)])
    def test_rate(self, frames: int, fps: float) -> None:
        info = VideoInfo.regular(4, 3, frames, 50)
        assert info.frames == frames and info.fps == pytest.approx(fps)
        assert info.names == tuple(f"{t:05d}" for t in range(frames))

    def test_rate_is_the_median_interval(self) -> None:
        assert VideoInfo(4, 3, [0, 0.1, 0.2, 0.3, 9]).fps == pytest.approx(10)

    def test_numbers_become_plain_and_frozen(self) -> None:
        info = VideoInfo(np.int64(4), np.uint8(3), [0, 1])
        assert type(info.width) is int and type(info.height) is int
        with pytest.raises(ValueError):
            info.pts[0] = 3
        with pytest.raises(dataclasses.FrozenInstanceError):
            info.width = 3  # type: ignore[misc]

    def test_window(self) -> None:
        info = VideoInfo(4, 3, [0, 0.5, 2], names=("a", "b", "c"), source="x")
        part = info.window(1, 3)
        assert part.pts.tolist() == [0.5, 2] and part.names == ("b", "c") and part.source == "x"
        assert info.window(1, 1).frames == 0


class TestQueries:
    @pytest.mark.parametrize(
        ("xyt", "instance", "said"),
        [
            ([1, 2, 3], None, "N, 3"),
            ([[1, 2]], None, r"\[N, 3\]"),
            ([[np.nan, 2, 0]], None, "row 0"),
            ([[1, 2, 0], [1, np.inf, 0]], None, "row 1"),
            ([[1, 2, -1]], None, "-1 in row 0"),
            ([[1, 2, 0.5]], None, "0.5 in row 0"),
            ([[1e300, 2, 0]], None, "row 0"),
            (np.full((1, 3), 1j), None, "complex"),
            ([[1, 2, 0], [1, 2]], None, "numbers"),
            ("x", None, "numbers"),
            ([[1, "a", 0]], None, "numbers"),
            ([[1, 2, 0]], [1, 2], r"\[1\]"),
            ([[1, 2, 0]], 1, r"\[1\]"),
            ([[1, 2, 0]], [1.5], "whole"),
            ([[1, 2, 0]], [np.nan], "whole"),
            ([[1, 2, 0]], [2**31], "ids in"),
            ([[1, 2, 0]], ["a"], "numbers"),
        ],
    )
    def test_bad(self, xyt: Any, instance: Any, said: str) -> None:
        with pytest.raises(InputError, match=said):
            Queries(xyt, instance)

    @pytest.mark.parametrize("empty", [[], np.zeros((0, 3)), np.zeros((0, 2))])
    def test_none(self, empty: Any) -> None:
        queries = Queries(empty)
        assert len(queries) == 0 and queries.xyt.shape == (0, 3) and queries.instance.shape == (0,)
        queries.check(VideoInfo.regular(1, 1, 1))

    def test_defaults_and_copies(self) -> None:
        given_array = np.array([[1, 2, 3]], np.float32)
        queries = Queries(given_array, [7.0])
        given_array[:] = 0
        assert queries.xyt.tolist() == [[1, 2, 3]] and queries.t.tolist() == [3]
        assert queries.instance.tolist() == [7] and queries.instance.dtype == np.int32
        assert Queries([[1, 2, 3]]).instance.tolist() == [-1]

    @pytest.mark.parametrize("row", [(-0.1, 1, 0), (32.1, 1, 0), (1, -0.1, 0), (1, 24.1, 0), (1, 1, 5)])
    def test_check_refuses(self, row: tuple[float, float, int]) -> None:
        queries = Queries([(0, 0, 0), (32, 24, 4), row])
        with pytest.raises(InputError, match=r"query 2 is outside.*\[0, 32\].*\[0, 24\].*\[0, 4\]"):
            queries.check(VideoInfo.regular(32, 24, 5))
        queries[:2].check(VideoInfo.regular(32, 24, 5))

    @pytest.mark.parametrize("step", [0, -1, float("nan")])
    def test_bad_grid(self, step: float) -> None:
        with pytest.raises(InputError, match="step"):
            Queries.grid(32, 24, step)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 200), st.integers(1, 200), st.floats(0.5, 300), st.integers(0, 9))
    def test_grid_is_regular_centred_and_inside(self, width: int, height: int, step: float, t: int) -> None:
        queries = Queries.grid(width, height, max(step, width / 50, height / 50), t)
        queries.check(VideoInfo.regular(width, height, t + 1))
        assert len(queries) >= 1 and set(queries.t.tolist()) == {t}
        mirrored = np.array([width, height]) - queries.xy
        np.testing.assert_allclose(np.sort(mirrored, 0), np.sort(queries.xy, 0), atol=1e-3)

    def test_grid_narrower_than_its_step(self) -> None:
        assert Queries.grid(3, 40, 16).xyt.tolist() == [[1.5, 10, 0], [1.5, 30, 0]]

    def test_concat(self) -> None:
        a, b = Queries([[1, 2, 3]], [4]), Queries([[5, 6, 7], [8, 9, 1]])
        both = Queries.concat([a, Queries([]), b])
        assert both.xyt.tolist() == [[1, 2, 3], [5, 6, 7], [8, 9, 1]] and both.instance.tolist() == [4, -1, -1]
        assert len(Queries.concat([])) == 0


class TestTracks:
    @pytest.mark.parametrize(
        ("xy", "visibility", "error", "said"),
        [
            (np.zeros((2, 3, 2)), np.zeros((1, 3)), ShapeError, r"xy.*\[1, 3, 2\], got \[2, 3, 2\]"),
            (np.zeros((1, 3)), np.zeros((1, 3)), ShapeError, "xy"),
            (np.zeros((1, 3, 2)), np.zeros((1, 4)), ShapeError, "visibility"),
            (np.full((1, 3, 2), np.nan), np.zeros((1, 3)), InputError, "finite"),
            (np.full((1, 3, 2), np.inf), np.zeros((1, 3)), InputError, "finite"),
            (np.full((1, 3, 2), 1e300), np.zeros((1, 3)), InputError, "finite"),
            (np.zeros((1, 3, 2)), np.full((1, 3), 1.1), InputError, "probabilities"),
            (np.zeros((1, 3, 2)), np.full((1, 3), -0.1), InputError, "probabilities"),
            (np.zeros((1, 3, 2)), np.full((1, 3), np.nan), InputError, "probabilities"),
        ],
    )
    def test_bad(self, xy: Any, visibility: Any, error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            Tracks(xy, visibility, Queries([[1, 2, 0]]), VideoInfo.regular(4, 4, 3))

    def test_none(self, tmp_path: Path) -> None:
        info = VideoInfo.regular(4, 3, 2)
        tracks = Tracks(np.zeros((0, 2, 2)), np.zeros((0, 2)), Queries([]), info)
        assert len(tracks) == 0 and tracks.visible.shape == (0, 2) and tracks.at(1)[0].shape == (0, 2)
        assert len(tracks.window(0, 1)) == len(tracks[:]) == len(Tracks.concat([tracks, tracks])) == 0
        tracks.save(tmp_path / "x.npz")
        assert Tracks.load(tmp_path / "x.npz").video.frames == 2

    @pytest.mark.parametrize("t", [6, -7, 100])
    def test_at_refuses(self, t: int) -> None:
        with pytest.raises(InputError, match=r"0 \.\. 5"):
            make_tracks().at(t)

    def test_at(self) -> None:
        tracks = make_tracks()
        xy, visible = tracks.at(-1)
        np.testing.assert_array_equal(xy, tracks.xy[:, 5])
        np.testing.assert_array_equal(visible, tracks.visibility[:, 5] > 0.5)

    def test_exactly_half_is_hidden(self) -> None:
        tracks = Tracks(np.zeros((1, 2, 2)), [[0.5, 0.5001]], Queries([[0, 0, 0]]), VideoInfo.regular(4, 4, 2))
        assert tracks.visible.tolist() == [[False, True]]

    @pytest.mark.parametrize(("width", "height", "frames"), [(5, 4, 2), (4, 5, 2), (4, 4, 3)])
    def test_check_refuses_another_video(self, width: int, height: int, frames: int) -> None:
        tracks = Tracks(np.zeros((1, 2, 2)), np.ones((1, 2)), Queries([[0, 0, 0]]), VideoInfo.regular(4, 4, 2))
        tracks.check(VideoInfo.regular(4, 4, 2, fps=7))
        expected = rf"points\.npz: expected tracks of a video of {width}x{height}, {frames} frames, got 4x4, 2"
        with pytest.raises(InputError, match=expected):
            tracks.check(VideoInfo.regular(width, height, frames), "points.npz")

    @pytest.mark.parametrize(("t0", "t1"), [(-1, 2), (2, 2), (3, 2), (0, 7)])
    def test_window_refuses(self, t0: int, t1: int) -> None:
        with pytest.raises(InputError, match="window"):
            make_tracks().window(t0, t1)

    @settings(max_examples=30, deadline=None)
    @given(data=st.data())
    def test_window_of_a_window(self, data: st.DataObject) -> None:
        tracks = make_tracks(data.draw(st.integers(0, 8)), 6)
        a = data.draw(st.integers(0, 5))
        b = data.draw(st.integers(a + 1, 6))
        c = data.draw(st.integers(0, b - a - 1))
        d = data.draw(st.integers(c + 1, b - a))
        twice, once = tracks.window(a, b).window(c, d), tracks.window(a + c, a + d)
        np.testing.assert_array_equal(twice.xy, once.xy)
        np.testing.assert_array_equal(twice.queries.xyt, once.queries.xyt)
        np.testing.assert_array_equal(twice.video.pts, once.video.pts)
        assert all(0 <= t < once.video.frames for t in once.queries.t)

    @settings(max_examples=30, deadline=None)
    @given(rows=hnp.arrays(np.int64, st.integers(0, 6), elements=st.integers(-4, 3)))
    def test_indexing_keeps_rows_together(self, rows: np.ndarray) -> None:
        tracks = make_tracks()
        part = tracks[rows]
        np.testing.assert_array_equal(part.xy, tracks.xy[rows])
        np.testing.assert_array_equal(part.visibility, tracks.visibility[rows])
        np.testing.assert_array_equal(part.queries.xyt, tracks.queries.xyt[rows])
        np.testing.assert_array_equal(part.instance, tracks.instance[rows])

    def test_indexing_by_each_kind(self) -> None:
        tracks = make_tracks()
        assert len(tracks[1]) == 1 and len(tracks[-1]) == 1 and len(tracks[1:3]) == 2
        assert tracks[tracks.instance == 2].instance.tolist() == [2]
        with pytest.raises(IndexError):
            tracks[4]

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 4))
    def test_concat_undoes_a_split(self, at: int) -> None:
        tracks = make_tracks()
        both = Tracks.concat([tracks[:at], tracks[at:]])
        np.testing.assert_array_equal(both.xy, tracks.xy)
        np.testing.assert_array_equal(both.instance, tracks.instance)

    def test_concat_refuses(self) -> None:
        with pytest.raises(InputError, match="at least one"):
            Tracks.concat([])
        with pytest.raises(InputError, match=r"32x24, 6 frames.*32x24, 5 frames"):
            Tracks.concat([make_tracks(), make_tracks(t=5)])

    def test_arrays_are_frozen_copies(self) -> None:
        xy = np.zeros((1, 2, 2), np.float32)
        tracks = Tracks(xy, np.ones((1, 2)), Queries([[0, 0, 0]]), VideoInfo.regular(4, 4, 2))
        xy[:] = 9
        assert not tracks.xy.any()
        with pytest.raises(ValueError):
            tracks.xy[0, 0, 0] = 1

    def test_save_and_load(self, tmp_path: Path) -> None:
        tracks = make_tracks()
        tracks.save(tmp_path / "new" / "x.npz")
        back = Tracks.load(tmp_path / "new" / "x.npz")
        np.testing.assert_array_equal(back.xy, tracks.xy)
        np.testing.assert_array_equal(back.instance, tracks.instance)
        assert back.video.source == "a.mp4" and back.video.names == tracks.video.names

    def test_load_refuses(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match="no such file"):
            Tracks.load(tmp_path / "x.npz")
        (tmp_path / "x.npz").write_bytes(b"")
        with pytest.raises(FormatError, match="expected an npz of tracks"):
            Tracks.load(tmp_path / "x.npz")

    @settings(max_examples=60, deadline=None)
    @given(at=st.floats(0, 0.999), bit=st.integers(0, 7))
    def test_a_flipped_bit_is_one_line_or_harmless(
        self, tmp_path_factory: pytest.TempPathFactory, at: float, bit: int
    ) -> None:
        path = tmp_path_factory.mktemp("flip") / "x.npz"
        make_tracks(2, 2).save(path)
        data = bytearray(path.read_bytes())
        data[int(at * len(data))] ^= 1 << bit
        path.write_bytes(bytes(data))
        try:
            Tracks.load(path)
        except FormatError as error:
            assert "\n" not in str(error)


def test_every_error_has_one_root() -> None:
    import trackime.errors as errors

    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert len(kinds) >= 9 and all(issubclass(k, TrackimeError) for k in kinds)
    shape = errors.ShapeError("xy", "[N, 2]", (3, 4))
    assert str(shape) == "xy: expected shape [N, 2], got [3, 4]" and shape.got == (3, 4)
    name = errors.UnknownNameError("tracker", "foo", iter(["a", "b"]))
    assert str(name) == "unknown tracker 'foo': expected one of a, b" and name.allowed == ("a", "b")
    assert str(errors.UnknownNameError("tracker", "foo", [])).endswith("(none)")
    extra = errors.MissingExtraError("the rerun format", "rerun")
    assert isinstance(extra, ImportError) and "pip install 'trackime[rerun]'" in str(extra)
    assert issubclass(InputError, ValueError)


def test_rate_of_times_rounded_to_milliseconds():
    info = VideoInfo(4, 4, np.round(np.arange(97) / 24, 3))
    assert info.fps == pytest.approx(24, abs=1e-2)


def test_rate_of_irregular_times_is_the_usual_one():
    info = VideoInfo(4, 4, np.cumsum([0, 0.04, 0.04, 0.04, 1.0, 0.04]))
    assert info.fps == pytest.approx(25)
