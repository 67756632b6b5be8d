"""The method end to end on doubles that know the truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import HalfPlanes, RampTracker, ramp_video
from trackime import Queries, track
from trackime.errors import InputError, ShapeError, UnknownNameError
from trackime.ime import ImeConfig, run
from trackime.ime._context import RunContext
from trackime.ime.masks import instance_masks
from trackime.video import open_video

PX = ImeConfig(windows_px=(60, 40), cuts=False)
QUERIES = Queries(np.array([[20, 30, 0], [25, 40, 0], [80, 50, 0], [70, 20, 4], [90, 60, 9]], np.float32))


def truth(queries, length=10, velocity=(1.0, 0.5)):
    elapsed = np.arange(length)[None, :, None] - queries.t[:, None, None]
    return queries.xy[:, None] + elapsed * np.array(velocity)


def go(config=PX, tracker=None, segmenter=None, queries=QUERIES, video=None, **more):
    video = open_video(ramp_video() if video is None else video)
    return run(video, queries, tracker or RampTracker(), segmenter or HalfPlanes(), config, **more)


class TestBadInput:
    def test_no_queries(self):
        result = go(queries=Queries(np.zeros((0, 3))))
        assert result.tracks.xy.shape == (0, 10, 2)

    @pytest.mark.parametrize("query", [[121, 5, 0], [5, -1, 0], [5, 5, 10]])
    def test_outside(self, query):
        with pytest.raises(InputError, match=r"outside the video.*allowed"):
            go(queries=Queries(np.array([query])))

    @pytest.mark.parametrize(
        "options",
        [
            {"neighbours": 0}, {"chunk": 0}, {"margin": 0.5}, {"weights": "loud"}, {"windows": "all"},
            {"window_scales": (1.5,)}, {"windows_px": (4,)}, {"confidence": 1.0},
            {"window_scales": ()}, {"seed": -1},
        ],
    )  # fmt: skip
    def test_config(self, options):
        with pytest.raises(InputError, match="expected"):
            ImeConfig(**options)

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"joint_masks": True, "instance_motion": False}, "joint_masks: has no effect without instance_motion"),
            ({"resample": True, "clip": False}, "resample: has no effect without clip"),
            ({"fuse_full": True, "clip": False}, "fuse_full: has no effect without clip"),
            ({"fusion_weights": "visibility", "fusion": False}, "fusion_weights: has no effect without fusion"),
        ],
    )
    def test_switches_that_would_do_nothing(self, options, told):
        with pytest.raises(InputError, match=told):
            ImeConfig(**options)
        assert ImeConfig(**{k: v for k, v in options.items() if v not in (False,)}).alone() == ImeConfig.plain(
            neighbours=1
        )

    @pytest.mark.parametrize("shape", [(120, 90), (45, 60), (90, 120, 1)])
    def test_masks_of_another_size(self, shape):
        with pytest.raises(ShapeError, match=r"mask of frame 3: expected shape \[90, 120\], the video's, got"):
            go(masks={3: np.zeros(shape, np.uint8)})

    def test_names(self):
        with pytest.raises(UnknownNameError, match="expected one of lk"):
            track(ramp_video(), QUERIES, tracker="nope")
        with pytest.raises(InputError, match="expected auto"):
            track(ramp_video(), QUERIES, device="tpu")


@pytest.mark.parametrize("windows", ["query", "instance"])
@pytest.mark.parametrize("resample", [False, True])
def test_a_perfect_tracker_stays_perfect(windows, resample):
    result = go(replace(PX, windows=windows, resample=resample))
    for name, (xy, vis) in result.rows.items():
        np.testing.assert_allclose(xy, truth(QUERIES), atol=1e-3, err_msg=name)
        assert (vis > 0.99).all()
    assert set(result.rows) == {"none", "im", "im_fusion", "im_clip", "all"}


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({}, "all"), ({"fusion": False}, "im_clip"), ({"clip": False}, "im_fusion"),
        ({"clip": False, "fusion": False}, "im"),
        ({"clip": False, "instance_motion": False}, "none"), ({"instance_motion": False}, "all"),
    ],
)  # fmt: skip
def test_switches_choose_the_row(change, row):
    result = go(replace(PX, **change), RampTracker(bias=3.0))
    xy, vis = result.rows[row]
    np.testing.assert_array_equal(result.tracks.xy, xy)
    np.testing.assert_array_equal(result.tracks.visibility, vis)


def test_windows_mend_what_the_full_frame_blurs():
    result = go(PX, RampTracker(bias=3.0))
    error = {name: np.abs(xy - truth(QUERIES)).max() for name, (xy, _) in result.rows.items()}
    assert error["none"] == pytest.approx(3, abs=1e-3)
    assert error["im_clip"] < 1e-3 and error["all"] < 1e-3


def test_fuse_full_takes_the_first_pass_in():
    result = go(replace(PX, fuse_full=True, fusion_weights="visibility"), RampTracker(bias=3.0))
    assert np.abs(result.tracks.xy[0, 9] - truth(QUERIES)[0, 9]).max() == pytest.approx(1.0, abs=1e-3)


def test_a_hidden_query_moves_with_its_instance():
    """Where the query is hidden the guide is the neighbours' motion; where all are, it stands still."""

    class Blind(RampTracker):
        def advance(self, state, features):
            xy, vis, state = super().advance(state, features)
            if xy.shape[1] > 1:
                xy[:, 0], vis[:, 0] = 5.0, 0.0
            return xy, vis, state

    queries = Queries(np.array([[20, 30, 0]], np.float32))
    result = go(replace(PX, clip=False, fusion=False), Blind(), queries=queries)
    np.testing.assert_allclose(result.tracks.xy, truth(queries), atol=1e-3)
    assert result.tracks.visible.sum() == 1  # its query frame


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
def test_chunk_changes_nothing(chunk):
    a, b = go(), go(replace(PX, chunk=chunk))
    np.testing.assert_array_equal(a.tracks.xy, b.tracks.xy)
    np.testing.assert_array_equal(a.tracks.visibility, b.tracks.visibility)
    assert a.operations.frames_encoded == b.operations.frames_encoded


@pytest.mark.parametrize("windows", ["query", "instance"])
def test_order_and_duplicates_change_nothing(windows):
    order = np.array([3, 1, 0, 4, 2, 2])
    config = replace(PX, windows=windows)
    a, b = go(config, RampTracker(bias=2.0)), go(config, RampTracker(bias=2.0), queries=QUERIES[order])
    np.testing.assert_allclose(a.tracks.xy[order], b.tracks.xy, atol=1e-4)


def test_reversing_the_video_reverses_the_tracks():
    mirrored = Queries(QUERIES.xyt * [1, 1, -1] + [0, 0, 9])
    a = go(PX, RampTracker(bias=2.0))
    # The ramp's blue channel counts frames, so the velocity turns by itself.
    b = go(PX, RampTracker(bias=2.0), queries=mirrored, video=ramp_video()[::-1])
    np.testing.assert_allclose(a.tracks.xy, b.tracks.xy[:, ::-1], atol=1e-3)


def test_shared_windows_cost_less():
    rng = np.random.default_rng(0)
    xy = np.c_[rng.uniform(15, 50, 20), rng.uniform(15, 60, 20), np.zeros(20)]
    one = go(replace(PX, windows="query", windows_px=(60,)), queries=Queries(xy)).operations
    shared = go(replace(PX, windows_px=(60,)), queries=Queries(xy)).operations
    assert one.windows == 20 and shared.windows <= 3
    assert shared.window_frames_encoded == shared.windows * 10


def test_a_window_that_is_the_whole_frame_reuses_the_first_pass():
    square = ramp_video(80, 80)
    queries = Queries(np.array([[20, 30, 0]], np.float32))
    result = go(replace(PX, windows_px=(80,)), RampTracker(full=(80, 80)), video=square, queries=queries)
    assert result.operations.windows == 0
    np.testing.assert_array_equal(result.rows["none"][0], result.rows["im_clip"][0])


def test_points_that_leave_the_frame_are_hidden_but_tracked():
    queries = Queries(np.array([[115, 30, 0]], np.float32))
    result = go(queries=queries)
    np.testing.assert_allclose(result.tracks.xy, truth(queries), atol=1e-3)
    assert result.tracks.visible[0].tolist() == [True] * 6 + [False] * 4


def test_a_cut_ends_visibility(monkeypatch):
    from trackime.ime import pipeline

    monkeypatch.setattr(pipeline, "find_cuts", lambda video, progress=None: [4, 8])
    result = go(replace(PX, cuts=True))
    assert result.tracks.visible[0].tolist() == [True] * 4 + [False] * 6
    assert result.tracks.visible[3].tolist() == [False] * 4 + [True] * 4 + [False] * 2
    assert result.tracks.visible[4].tolist() == [False] * 8 + [True] * 2
    np.testing.assert_allclose(result.tracks.xy[0, 3:], np.broadcast_to(truth(QUERIES)[0, 3], (7, 2)), atol=1e-3)
    np.testing.assert_allclose(result.tracks.xy[3, :5], np.broadcast_to(truth(QUERIES)[3, 4], (5, 2)), atol=1e-3)


def test_instances_are_told():
    result = go()
    found = result.tracks.instance
    assert found[0] == found[1] != found[2] and len(set(found.tolist())) == 4
    given = go(queries=Queries(QUERIES.xyt, np.array([5, 5, 6, -1, 6])))
    assert given.tracks.instance[[0, 1, 2, 4]].tolist() == [5, 5, 6, 6]


def test_joint_masks_mute_neighbours_that_stray():
    """Half of the neighbours run off to the other half-plane; the masks tell."""

    class Deserters(RampTracker):
        def advance(self, state, features):
            first = state["step"] == 0
            xy, vis, state = super().advance(state, features)
            if xy.shape[1] > 1:
                steps = torch.arange(xy.shape[2]) + (0 if first else state["step"] - xy.shape[2])
                xy[:, 17:, :, 0] += torch.where(steps > 0, 60.0, 0.0)
                vis[:, 0] = 0
            return xy, vis, state

    queries = Queries(np.array([[20, 30, 0], [25, 35, 0]], np.float32))
    base = replace(PX, clip=False, fusion=False, chunk=16)
    strayed = go(base, Deserters(), queries=queries).tracks.xy[0, 9, 0]
    joint = go(replace(base, joint_masks=True), Deserters(), queries=queries).tracks.xy[0, 9, 0]
    want = truth(queries)[0, 9, 0]
    assert abs(strayed - want) > 20 and abs(joint - want) < 0.25 * abs(strayed - want)


def test_a_video_that_track_opened_is_closed(monkeypatch):
    closed = []
    monkeypatch.setattr("trackime.video.reader.Video.close", lambda video: closed.append(video))
    tools = {"tracker": RampTracker(), "segmenter": HalfPlanes(), "config": PX}
    with_video = open_video(ramp_video())
    track(with_video, QUERIES, **tools)
    assert with_video not in closed
    before = len(closed)
    track(ramp_video(), QUERIES, **tools)
    assert len(closed) > before


def test_found_groups_are_not_taken_for_ids():
    found = go().tracks.instance
    assert (found >= 256).all()
    given = Queries(QUERIES.xyt, np.array([300, -1, -1, -1, 1]))
    mixed = go(queries=given).tracks.instance
    assert mixed[[0, 4]].tolist() == [300, 1] and (mixed[1:4] > 300).all()


def test_instance_masks_follow_the_points():
    video = open_video(ramp_video())
    result = go()
    context = RunContext(video, RampTracker(), HalfPlanes(), PX)
    tracks = result.tracks
    seen = list(instance_masks(context, tracks.xy, tracks.visibility, tracks.instance))
    assert [t for t, _ in seen] == list(range(10))
    for _, masks in seen:
        for key, mask in masks.items():
            left = result.tracks.xy[result.tracks.instance == key][0, 0, 0] < 55
            assert mask.shape == (90, 120) and (mask[0, 0] > 0.5) == left


@pytest.mark.parametrize("cuts", [[], [4], [4, 8]])
@pytest.mark.parametrize("windows", ["query", "instance"])
def test_progress_ends_at_its_total_in_every_stage(monkeypatch, cuts, windows):
    from trackime.ime import pipeline

    monkeypatch.setattr(pipeline, "find_cuts", lambda video, progress=None: cuts)
    calls = {}
    config = replace(PX, cuts=True, joint_masks=True, windows=windows, chunk=3)
    go(config, progress=lambda stage, done, total: calls.setdefault(stage, []).append((done, total)))
    assert list(calls) == ["neighbours", "full frame", "masks", "windows of 60 px", "windows of 40 px"]
    for steps in calls.values():
        done, totals = zip(*steps, strict=True)
        assert len(set(totals)) == 1 and done[-1] == totals[0] and list(done) == sorted(done)


def test_progress_names_every_stage():
    stages = []
    go(progress=lambda stage, done, total: stages.append(stage))
    assert list(dict.fromkeys(stages)) == ["neighbours", "full frame", "windows of 60 px", "windows of 40 px"]
