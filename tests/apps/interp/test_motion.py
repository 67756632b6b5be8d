"""Motion between two frames: flow, interpolation of points, quadratic motion, selection among candidates."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.errors import InputError
from trackime.types import Queries, Tracks, VideoInfo
from trackime.video import MotionFrames, open_video
from trackime_apps.interp import InterpConfig, InterpInput, visibility
from trackime_apps.interp import _quadratic_motion as quadratic
from trackime_apps.interp._local_affine import LocalAffine
from trackime_apps.interp._select_flow import census, select_flow
from trackime_apps.interp._tracked_points import GivenTracks, TrackedPoints
from trackime_apps.interp.flow_estimation import _AT_ENDS, FlowEstimator

H, W = 72, 96


def texture(height: int = 160, width: int = 220, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    fine, coarse = cv2.GaussianBlur(noise, (0, 0), 1.5), cv2.GaussianBlur(noise, (0, 0), 6)
    both = (fine - 127) * 3 + (coarse - 127) * 8 + 127
    return np.clip(both, 0, 255).astype(np.uint8)


def slide(places: Any, seed: int = 0) -> np.ndarray:
    """Frames [T, H, W, 3] that show a texture moved by (x, y) pixels."""
    ground = texture(seed=seed)
    frames = []
    for x, y in places:
        shift = np.array([[1, 0, 30 - x], [0, 1, 30 - y]], np.float32)
        way = cv2.WARP_INVERSE_MAP | cv2.INTER_CUBIC
        frames.append(cv2.warpAffine(ground, shift, (W, H), flags=way))
    return np.stack(frames)


def constant(x: float, y: float = 0.0) -> np.ndarray:
    return np.broadcast_to(np.array([x, y], np.float32), (H, W, 2)).copy()


class TestVisibility:
    def test_visibility_of_a_frame_and_beyond(self) -> None:
        sight = visibility(constant(4), constant(-4))
        assert (sight[:, : W - 4] == 1).all() and (sight[:, W - 4 :] == 0).all()
        assert visibility(constant(4), constant(4)).max() < 1e-3


confidence = quadratic.quadratic_confidence


class TestQuadraticMotion:
    def test_even_places(self) -> None:
        np.testing.assert_allclose(quadratic.lagrange_weights(0.5, [-1, 0, 1, 2]), np.array([-1, 9, 9, -1]) / 16)
        six = np.array([3, -25, 150, 150, -25, 3]) / 256
        np.testing.assert_allclose(quadratic.lagrange_weights(0.5, [-2, -1, 0, 1, 2, 3]), six)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3))
    def test_polynomials_are_met(self, seed: int, before: int, after: int) -> None:
        rng = np.random.default_rng(seed)
        places = [
            *(-np.cumsum(rng.uniform(0.5, 2, before)))[::-1],
            0.0,
            1.0,
            *(1 + np.cumsum(rng.uniform(0.5, 2, after))),
        ]
        power = rng.normal(size=(5, len(places), 2))  # as many coefficients as places

        def at(s: float) -> np.ndarray:
            return sum(power[:, k] * s**k for k in range(len(places)))

        c = quadratic.from_positions(np.stack([at(s) for s in places], 1), places)
        middle = at(0) + 0.5 * (at(1) - at(0)) + 0.5 * (0.5 - 1) * c
        np.testing.assert_allclose(middle, at(0.5), rtol=1e-6, atol=1e-6 * np.abs(power).max())

    @pytest.mark.parametrize("s", [-1.0, -0.5, 2.0])
    def test_a_third_frame_gives_the_parabola(self, s: float) -> None:
        speed, bend = np.array([3.0, -1.0]), np.array([0.7, 2.0])

        def to(t: float) -> np.ndarray:
            return constant(*(t * speed + t * (t - 1) * bend))

        np.testing.assert_allclose(quadratic.from_third_frame(to(1), to(s), s), constant(*bend), rtol=1e-5)

    def test_confidence_of_quadratic_motion(self) -> None:
        rng = np.random.default_rng(4)
        start, times = rng.uniform(0, 90, (30, 1, 2)), np.arange(16) / 25
        seen = np.ones((30, 16), bool)
        speed = rng.normal(0, 3, (30, 1, 2))
        smooth = start + speed * np.sin(times * 12)[None, :, None] * 5
        assert confidence(smooth, seen, times) == 1
        shaken = start + rng.normal(0, 3, (1, 16, 2))  # where it shakes to, nobody knows: bending makes it worse
        assert confidence(shaken, seen, times) < 0.7
        assert confidence(np.repeat(start, 16, 1), seen, times) == pytest.approx(1)  # nothing moves
        assert confidence(shaken, np.zeros_like(seen), times) == 1 == confidence(shaken[:, :5], seen[:, :5], times[:5])

    def test_smoothing_keeps_what_is_even(self) -> None:
        weight = np.random.default_rng(0).uniform(0.5, 1, (H, W)).astype(np.float32)
        field, mass = quadratic.weighted_blur(constant(2, -1), weight, 5)
        np.testing.assert_allclose(field, constant(2, -1), rtol=0.03)
        assert 0.5 < mass.min() and mass.max() < 1


class TestLocalAffine:
    def test_affine_motion_comes_back(self) -> None:
        rng = np.random.default_rng(1)
        at = rng.uniform(0, [W, H], (60, 2))
        linear, offset = np.array([[0.03, -0.02], [0.01, 0.04]]), np.array([2.0, -1.0])
        field = LocalAffine(texture(H, W), at, np.ones(60, np.float32), 12.0)(at @ linear + offset)
        y, x = np.mgrid[0:H, 0:W] + 0.5
        expected = np.stack([x, y], -1) @ linear + offset
        assert np.abs(field - expected)[6:-6, 6:-6].max() < 0.15

    def test_outliers_are_down_weighted(self) -> None:
        rng = np.random.default_rng(2)
        at, values = rng.uniform(0, [W, H], (60, 2)), np.full((60, 2), 3.0)
        values[7] = 40
        field = LocalAffine(texture(H, W), at, np.ones(60, np.float32), 12.0)(values)
        assert np.median(np.abs(field - 3)) < 0.3 and np.abs(field - 3).mean() < 2

    def test_colour_separates_neighbours(self) -> None:
        picture = np.zeros((H, W, 3), np.uint8)
        picture[:, W // 2 :] = 255
        at = np.array([(x, y) for y in range(6, H, 12) for x in range(6, W, 12)], float)
        right = at[:, 0] > W / 2
        values = np.where(right[:, None], [5.0, 0.0], [-5.0, 0.0])
        field = LocalAffine(picture, at, np.ones(len(at), np.float32), 12.0)(values)[..., 0]
        assert (field[:, : W // 2 - 8] < -4).mean() > 0.95 and (field[:, W // 2 + 8 :] > 4).mean() > 0.95

    def test_one_point_and_support(self) -> None:
        spread = LocalAffine(texture(H, W), np.array([[10.0, 10.0]]), np.ones(1, np.float32), 12.0)
        np.testing.assert_allclose(
            spread(np.array([[2.0, 1.0]])), constant(2, 1), atol=0.3
        )  # slopes are drawn to none, not forbidden
        assert spread.support[10, 10] > 0.6 > 0.1 > spread.support[-1, -1]


class TestSelectFlow:
    def test_census_by_the_book(self) -> None:
        grey = np.random.default_rng(3).integers(0, 255, (9, 11), np.uint8)
        signs = census(grey)
        wide = np.pad(grey.astype(int), 3, mode="edge")
        k = 0
        for dy in range(-3, 4):
            for dx in range(-3, 4):
                if (dy, dx) == (0, 0) or (dy + dx) % 2:
                    continue
                for y in range(9):
                    for x in range(11):
                        off = wide[y + 3 + dy, x + 3 + dx] - int(grey[y, x])
                        assert signs[k, y, x] == int(off > 3) - int(off < -3)
                k += 1
        assert k == len(signs) == 24

    def test_each_part_takes_what_is_right_there(self) -> None:
        here, there = slide([(0, 0), (5, 0)])
        left, right = constant(5), constant(5)
        left[:, W // 2 :] = right[:, : W // 2] = -3
        forth, back = select_flow(here, there, [left, right], [constant(-5), constant(9)])
        assert (np.abs(forth - constant(5)).max(2) == 0)[:, 8 : W - 16].mean() > 0.95
        np.testing.assert_array_equal(back[:, 16:], constant(-5)[:, 16:])

    def test_the_default_stays_unless_another_is_better(self) -> None:
        here, there = slide([(0, 0), (5, 0)])
        forth, back = select_flow(here, there, [constant(5), constant(5.01)], [constant(-5), constant(-5.01)])
        np.testing.assert_array_equal(forth, constant(5))
        np.testing.assert_array_equal(back, constant(-5))


class TestMotionFrames:
    def video(self, count: int = 10) -> Any:
        return open_video(np.stack([np.full((20, 30, 3), 10 * t, np.uint8) for t in range(count)]))

    def test_shots_without_duplicates(self) -> None:
        pictures = MotionFrames(self.video(), cuts=[6], duplicates=[2, 8])
        assert pictures.shot(0) == pictures.shot(5) == [0, 1, 3, 4, 5] and pictures.shot(6) == [6, 7, 9]
        assert pictures.around(1, 3, 2) == ([0], [4, 5]) and pictures.around(4, 5, 2) == ([3, 1], [])
        for i, j in ((5, 6), (1, 2), (0, 3), (9, 10)):
            with pytest.raises(InputError, match="expected two neighbouring frames of one shot"):
                pictures.around(i, j, 2)

    def test_large_frames_are_halved(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trackime.video.motion_frames._LARGEST", 100)
        pictures = MotionFrames(self.video(), kept=3)
        assert pictures.size == (5, 8)
        for t in range(10):
            assert pictures.colour(t).shape == (5, 8, 3) and (pictures.grey(t) == 10 * t).all()
        assert len(pictures._colour) == len(pictures._grey) == 3


class TestPoints:
    def test_given_tracks_at_the_pictures_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trackime.video.motion_frames._LARGEST", 20 * 30 // 4)
        video = TestMotionFrames().video()
        xy = np.tile(np.arange(10, dtype=np.float32)[None, :, None], (2, 1, 2))
        tracks = Tracks(
            xy, np.ones((2, 10), np.float32), Queries([[0, 0, 0]] * 2), VideoInfo(30, 20, np.arange(10) / 25)
        )
        seen = GivenTracks(MotionFrames(video), tracks).around(4, 5)
        assert seen.frames == [2, 3, 4, 5, 6, 7]
        np.testing.assert_allclose(seen.at(5)[0], [[2.5, 2.5]] * 2)

    def follow(self, frames: np.ndarray, **how: Any) -> TrackedPoints:
        video = open_video(frames)
        return TrackedPoints(MotionFrames(video, kept=30), InterpInput(video, InterpConfig(**how)))

    def test_points_follow_and_fill_the_frame(self) -> None:
        frames = slide([(2 * t, 0) for t in range(12)])
        seen = self.follow(frames, points=24, stretch=16).around(5, 6)
        (a, v), (b, u) = seen.at(5), seen.at(6)
        use = np.minimum(v, u) > 0.5
        assert use.sum() >= 20 and np.abs(np.median(b[use] - a[use], 0) - [2, 0]).max() < 0.05
        for quarter in (a[use] // [W / 2, H / 2]) @ [1, 2], (b[use] // [W / 2, H / 2]) @ [1, 2]:
            assert {0, 1, 2, 3} <= set(quarter.astype(int).tolist())

    def test_points_do_not_depend_on_where_a_run_begins(self) -> None:
        frames = slide([(1.5 * t, 0.5 * t) for t in range(14)])
        whole, late = self.follow(frames, points=12, stretch=4), self.follow(frames, points=12, stretch=4)
        rows = {i: whole.around(i, i + 1) for i in range(13)}
        for i in (9, 2, 12):
            np.testing.assert_array_equal(late.around(i, i + 1).xy, rows[i].xy)
        assert rows[0].frames == [0, 1, 2, 3] and rows[12].frames == [10, 11, 12, 13]

    def test_more_points_where_flow_is_unreliable(self) -> None:
        frames = slide([(0, 0)] * 8)
        plain = len(self.follow(frames, points=12).around(3, 4).xy)
        frames = frames.copy()
        frames[4, 20:50, 20:60] = texture(30, 40, seed=9)
        assert len(self.follow(frames, points=12).around(3, 4).xy) > plain


def fields(motion: Any) -> dict[str, np.ndarray]:
    return {
        f"{name} {field}": getattr(side, field).numpy()
        for name, side in (("forward", motion.forward), ("backward", motion.backward))
        for field in ("flow", "visibility", "quadratic")
        if getattr(side, field) is not None
    }


class TestDense:
    places = [(0.15 * t * t, 0.0) for t in range(9)]  # noqa: RUF012

    def motion(self, frames: np.ndarray, i: int, j: int, followed: bool = True, **how: Any) -> Any:
        pictures = MotionFrames(open_video(frames), kept=30)
        found = TestPoints().follow(frames, points=40) if followed else None
        return FlowEstimator(pictures, found, **how).between(i, j)

    @pytest.mark.parametrize("followed", [False, True])
    def test_accelerated_motion(self, followed: bool) -> None:
        motion = self.motion(slide(self.places), 4, 5, followed)
        got = fields(motion)
        inner = (slice(12, -12), slice(12, -12))
        assert np.median(got["forward flow"][0][inner]) == pytest.approx(0.15 * 9, abs=0.12)
        # x = 0.15 t^2: its second difference is 0.3, c half of it, the same seen from either end.
        for side in ("forward", "backward"):
            assert np.median(got[f"{side} quadratic"][0][inner]) == pytest.approx(0.15, abs=0.05)
        middle = motion.forward.displacement(0.5).numpy()[0][inner]
        assert np.median(middle) == pytest.approx(0.15 * (4.5**2 - 16), abs=0.08)

    def test_straight_paths_on_request_and_in_the_shortest_shot(self) -> None:
        frames = slide(self.places)
        assert self.motion(frames, 4, 5, curved=False).forward.quadratic is None
        assert self.motion(frames[:2], 0, 1).forward.quadratic is None
        for i in (0, 7):  # one frame beside the pair adds a little quadratic motion, too
            inner = self.motion(frames, i, i + 1).forward.quadratic.numpy()[0, 12:-12, 12:-12]
            assert np.median(inner) == pytest.approx(0.15 * _AT_ENDS, abs=0.02)

    def test_times_count(self) -> None:
        """Uniform motion filmed at irregular times has no quadratic term."""
        times = np.array([0, 1, 3, 4, 5.5, 7])
        frames = slide([(1.2 * t, 0) for t in times])
        pictures = MotionFrames(_Timed(frames, times / 25).video, kept=30)
        for i in range(5):
            bend = FlowEstimator(pictures).between(i, i + 1).forward.quadratic.numpy()
            assert np.abs(np.median(bend[:, 12:-12, 12:-12], (1, 2))).max() < 0.06

    def test_backwards_is_the_same(self) -> None:
        frames = slide(self.places)
        there, back = fields(self.motion(frames, 4, 5, False)), fields(self.motion(frames[::-1].copy(), 3, 4, False))
        for name, field in there.items():
            other = name.replace("forward", "x").replace("backward", "forward").replace("x", "backward")
            np.testing.assert_allclose(field, back[other], atol=1e-4)

    def test_points_correct_flow(self) -> None:
        """A small fast object: flow fails, the points on it do not."""
        frames = np.stack([texture(H, W)] * 8)
        for t in range(8):
            frames[t, 24:44, 4 + 11 * t - 4 : 20 + 11 * t - 4] = texture(20, 16, seed=5)
        info = VideoInfo(W, H, np.arange(8) / 25)
        on = np.array([(x, y) for y in range(26, 44, 4) for x in range(2, 16, 3)], float)
        off = np.array([(x, y) for y in (4, 12, 60, 68) for x in range(6, 96, 10)], float)
        steps = np.arange(8)[None, :, None] * [11.0, 0.0]
        xy = np.concatenate([on[:, None] + steps, np.repeat(off[:, None], 8, 1)])
        tracks = Tracks(xy, np.ones(xy.shape[:2]), Queries(np.c_[xy[:, 0], np.zeros(len(xy))]), info)
        pictures = MotionFrames(open_video(frames), kept=30)
        with_points = FlowEstimator(pictures, GivenTracks(pictures, tracks)).between(3, 4).forward.flow.numpy()
        without = FlowEstimator(pictures).between(3, 4).forward.flow.numpy()
        thing = (slice(27, 41), slice(36, 46))
        off = [np.abs(found[0][thing] - 11).mean() for found in (with_points, without)]
        assert off[0] < 3 and off[1] > 2 * off[0]

    def test_the_videos_own_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trackime.video.motion_frames._LARGEST", H * W // 4)
        motion = self.motion(slide([(4 * t, 0) for t in range(5)]), 2, 3, False)
        assert motion.forward.flow.shape == (2, H, W) and motion.forward.visibility.shape == (H, W)
        assert np.median(motion.forward.flow.numpy()[0]) == pytest.approx(4, abs=0.3)


class _Timed:
    """An array of frames at times of its own."""

    def __init__(self, frames: np.ndarray, pts: np.ndarray) -> None:
        self.video = open_video(frames)
        self.video.info = VideoInfo(frames.shape[2], frames.shape[1], pts)
