"""Drawing: where points land, what is filled and what is hollow, how masks and sheets look."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from trackime.types import Queries, Tracks, VideoInfo
from trackime_apps.run import Sheet, TrackPainter
from trackime_apps.run.overlay import (
    _MOST_POINTS,
    _blend,
    _draw_labels,
    _draw_masks,
    _drawn,
    _object_colour,
    _track_colours,
    overlay_frames,
)
from trackime_apps.run.sheet import _GAP as GAP
from trackime_apps.run.sheet import _WIDEST, _sheet_indices

W, H = 160, 120


def tracks_of(xy: np.ndarray, visible: np.ndarray | None = None, instance: list[int] | None = None) -> Tracks:
    n, t = xy.shape[:2]
    visibility = np.ones((n, t)) if visible is None else visible
    queries = Queries(np.concatenate([xy[:, 0], np.zeros((n, 1))], 1), instance)
    return Tracks(xy, visibility, queries, VideoInfo.regular(W, H, t))


def still(x: float, y: float, visible: float = 1.0) -> Tracks:
    return tracks_of(np.full((1, 1, 2), (x, y), np.float32), np.full((1, 1), visible))


def grey(value: int = 128) -> np.ndarray:
    return np.full((H, W, 3), value, np.uint8)


def painted(tracks: Tracks, t: int = 0) -> np.ndarray:
    frame = grey()
    TrackPainter(tracks)(frame, t)
    return frame


def changed(frame: np.ndarray) -> np.ndarray:
    return np.abs(frame.astype(int) - 128).sum(-1)


def test_no_tracks_draw_nothing() -> None:
    empty = Tracks(np.zeros((0, 2, 2)), np.zeros((0, 2)), Queries(np.zeros((0, 3))), VideoInfo.regular(W, H, 2))
    assert (painted(empty, 1) == 128).all()


@pytest.mark.parametrize(("x", "y"), [(80.0, 60.0), (80.5, 60.5), (33.25, 71.875), (100.5, 20.5)])
def test_a_point_is_drawn_where_it_is(x: float, y: float) -> None:
    weight = changed(painted(still(x, y))).astype(float)
    rows, columns = np.mgrid[:H, :W] + 0.5  # pixel centres
    centre = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
    assert centre == pytest.approx((x, y), abs=0.15)


def test_visible_points_are_filled_and_occluded_ones_hollow() -> None:
    video = VideoInfo.regular(1600, 1200, 1)
    centre, ring = [], []
    for visibility in (1.0, 0.0):
        query = Queries([(800.5, 600.5, 0)])
        painter = TrackPainter(Tracks(query.xy[:, None], np.full((1, 1), visibility), query, video))
        frame = np.full((1200, 1600, 3), 128, np.uint8)
        painter(frame, 0)
        centre.append(changed(frame)[600, 800])
        ring.append(changed(frame)[600, 800 + round(painter.radius)])
    assert centre[0] > 50 and centre[1] == 0 and min(ring) > 50


def test_sizes_follow_the_resolution() -> None:
    def radius(width: int, height: int) -> float:
        query = Queries([(5, 5, 0)])
        return TrackPainter(
            Tracks(query.xy[:, None], np.ones((1, 1)), query, VideoInfo.regular(width, height, 1))
        ).radius

    assert radius(64, 48) < radius(640, 480) < radius(3840, 2160)


@pytest.mark.parametrize("xy", [(-500.0, 60.0), (1e9, -1e9), (W + 50.0, H + 50.0)])
def test_points_outside_the_frame_are_not_drawn(xy: tuple[float, float]) -> None:
    path = np.array([[(80, 60), xy]], np.float32)
    hidden = tracks_of(path, np.array([[1.0, 0.0]]))
    assert (painted(hidden, 1) == 128).all()


def test_trails_follow_the_path_fade_and_stop_at_occlusions() -> None:
    path = np.stack([np.linspace(20, 110, 10), np.full(10, 60.5)], 1)[None].astype(np.float32)
    seen = changed(painted(tracks_of(path), 9))[60]
    assert seen[15] == 0 and 0 < seen[25] < seen[95]
    gap = np.ones((1, 10))
    gap[0, 4:6] = 0
    hidden = changed(painted(tracks_of(path, gap), 9))[60]
    assert hidden[65] == 0 and hidden[85] > 0


def test_many_tracks_are_thinned_evenly() -> None:
    queries = Queries.grid(640, 480, 8)
    tracks = Tracks(queries.xy[:, None], np.ones((len(queries), 1)), queries, VideoInfo.regular(640, 480, 1))
    few = _drawn(tracks)
    assert len(tracks) > _MOST_POINTS >= len(few) > _MOST_POINTS / 3
    quarters = [((few.queries.xy > corner) & (few.queries.xy <= corner + np.array([320, 240]))).all(1).sum()
                for corner in np.array([(0, 0), (320, 0), (0, 240), (320, 240)])]  # fmt: skip
    assert min(quarters) > 0.8 * max(quarters)
    crowd = Queries(np.tile([(5.0, 5.0, 0.0)], (3000, 1)), np.arange(3000))
    assert len(_drawn(Tracks(crowd.xy[:, None], np.ones((3000, 1)), crowd, tracks.video))) == _MOST_POINTS


def test_colours_go_by_place_or_by_instance() -> None:
    xy = np.array([[(10, 10)], [(11, 10)], [(150, 110)]], np.float32)
    palette, entry = _track_colours(tracks_of(xy, instance=[1, 2, 1]), by_instance=False)
    assert entry[0] == entry[1] != entry[2] and max(entry) < len(palette)
    palette, entry = _track_colours(tracks_of(xy, instance=[1, 2, 1]), by_instance=True)
    assert [palette[k] for k in entry] == [_object_colour(1), _object_colour(2), _object_colour(1)]


def test_every_object_has_a_colour_of_its_own() -> None:
    assert len({_object_colour(k) for k in range(1, 60)}) == 59
    assert _object_colour(0) == _object_colour(-1)


def test_blending_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    frame, colour = rng.integers(0, 256, (2, 7, 9, 3), dtype=np.uint8)
    cover = rng.integers(0, 256, (7, 9), dtype=np.uint8)
    cover[0] = 0
    want = np.round(frame + (colour.astype(float) - frame) * cover[..., None] / 255)
    _blend(frame, colour, cover)
    np.testing.assert_allclose(frame, want, atol=1)


def test_masks_are_tinted_outlined_and_void_is_left() -> None:
    ids = np.zeros((H, W), np.uint8)
    ids[20:100, 20:70], ids[20:100, 80:90], ids[20:100, 120:150] = 1, 255, 7
    frame = grey()
    _draw_masks(frame, ids)
    tint = np.round(128 + (np.array(_object_colour(1)) - 128) * round(255 * 0.4) / 255)
    np.testing.assert_allclose(frame[30, 30], tint, atol=1)
    assert tuple(frame[20, 45]) == _object_colour(1) and tuple(frame[60, 120]) == _object_colour(7)
    assert (frame[ids == 255][:, 0] == 128).all() and (frame[:15] == 128).all()


@pytest.mark.parametrize("ids", [np.zeros((H, W), np.uint8), np.full((H, W), 255, np.uint8)])
def test_no_object_changes_nothing(ids: np.ndarray) -> None:
    frame = grey()
    _draw_masks(frame, ids)
    assert (frame == 128).all()


def test_a_speck_and_a_full_frame_can_be_drawn() -> None:
    speck = np.zeros((H, W), np.uint8)
    speck[0, 0] = 3
    for ids in (speck, np.ones((H, W), np.uint8)):
        frame = grey()
        _draw_masks(frame, ids)
        _draw_labels(frame, ids)
        assert (frame[0, 0] != 128).any()


def test_frames_given_are_not_changed() -> None:
    frames = np.stack([grey(), grey()])
    frames.setflags(write=False)
    path = np.full((1, 2, 2), 50.0, np.float32)
    out = dict(overlay_frames([(0, frames)], TrackPainter(tracks_of(path)), lambda t: np.full((H, W), t, np.uint8)))
    assert sorted(out) == [0, 1] and (out[0] != out[1]).any()
    assert (frames == 128).all()


@pytest.mark.parametrize(
    ("frames", "most", "expected"), [(0, 12, []), (1, 12, [0]), (3, 12, [0, 1, 2]), (9, 3, [0, 4, 8])]
)
def test_sheets_show_the_first_the_last_and_evenly_between(frames: int, most: int, expected: list[int]) -> None:
    assert _sheet_indices(frames, most) == expected


@pytest.mark.parametrize(
    ("width", "height", "frames"), [(1, 1, 1), (160, 120, 24), (1920, 1080, 24), (1080, 1920, 7), (4000, 50, 3)]
)
def test_sheets_have_a_bearable_size(width: int, height: int, frames: int) -> None:
    sheet = Sheet(VideoInfo.regular(width, height, frames))
    for t in range(frames):
        if t in sheet.indices:
            sheet.take(t, np.full((height, width, 3), 200, np.uint8))
    picture = sheet.render()
    assert 200 <= picture.shape[1] <= _WIDEST
    x, y = GAP + sheet.width // 2, GAP + sheet.height // 2
    assert (picture[y, x] == 200).all()  # the first tile
    caption = picture[GAP + sheet.height :, :][: max(22, sheet.width // 13)]
    assert caption.max() > 150  # something is written below it


def test_sheets_are_saved_as_rgb(tmp_path: Path) -> None:
    sheet = Sheet(VideoInfo.regular(320, 240, 1))
    sheet.take(0, np.full((240, 320, 3), (250, 10, 20), np.uint8))
    sheet.save(tmp_path / "sheet.png")
    back = cv2.imread(str(tmp_path / "sheet.png"))
    assert back[GAP + 50, GAP + 50].tolist() == [20, 10, 250]
