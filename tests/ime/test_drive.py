"""The driver: any chunk, any direction, any window gives the tracker's own answer in video pixels."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import trackime.ime._drive as module
from tests.conftest import RampTracker
from trackime.errors import DeviceError
from trackime.ime import Operations
from trackime.ime._drive import View, drive


class Frames:
    """A video that remembers what was read of it."""

    def __init__(self, array):
        self.array, self.reads = array, []

    def __len__(self):
        return len(self.array)

    def read(self, t0, t1):
        self.reads.append((t0, t1))
        return self.array[t0:t1]


def truth(queries, length, velocity=(1.0, 0.5)):
    elapsed = np.arange(length)[None, :, None] - queries[:, 2][:, None, None]
    return queries[:, None, :2] + elapsed * np.array(velocity)


QUERIES = np.array([[20.5, 30.5, 0], [40.0, 50.0, 4], [60.0, 10.0, 9], [60.0, 10.0, 9]], np.float32)


@pytest.mark.parametrize("chunk", [1, 3, 4, 10, 99])
def test_full_frame_both_directions(ramp, chunk):
    video = Frames(ramp)
    [(xy, vis)] = drive(RampTracker(), video, [View(QUERIES, None, (90, 120))], chunk)
    np.testing.assert_allclose(xy, truth(QUERIES, 10), atol=1e-4)
    assert (vis == 1).all()
    assert max(t1 - t0 for t0, t1 in video.reads) <= chunk


@pytest.mark.parametrize("chunk", [1, 4, 99])
@pytest.mark.parametrize("batch", [1, 8])
def test_moving_windows(ramp, chunk, batch, monkeypatch):
    rng = np.random.default_rng(0)
    views = [
        View(QUERIES[i : i + 1], np.stack([rng.integers(0, 70, 10), rng.integers(0, 50, 10)], 1), (40, 50))
        for i in range(4)
    ]
    real = module._alike  # the CPU takes one window a call, anything else up to eight that are alike
    monkeypatch.setattr(module, "_alike", lambda *a, size: real(*a, size=batch))
    tracker = RampTracker()
    counted = Operations()
    for view, (xy, _) in zip(views, drive(tracker, Frames(ramp), views, chunk, counted), strict=True):
        np.testing.assert_allclose(xy, truth(view.queries, 10), atol=1e-4)
    # Forward from 0, 4, 9 and 9; backward from 4, 9 and 9.
    assert counted.frames_encoded == counted.window_frames_encoded == (10 + 6 + 1 + 1) + (5 + 10 + 10)


def test_out_of_memory_halves_the_chunk(ramp):
    whole = drive(RampTracker(), Frames(ramp), [View(QUERIES, None, (90, 120))], 8)
    small = drive(RampTracker(memory=2), Frames(ramp), [View(QUERIES, None, (90, 120))], 8)
    for a, b in zip(whole[0], small[0], strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(DeviceError, match="out of memory on one frame"):
        drive(RampTracker(memory=0), Frames(ramp), [View(QUERIES, None, (90, 120))], 8)


def test_out_of_memory_while_following_is_one_clear_error(ramp):
    class Greedy(RampTracker):
        def advance(self, state, features):
            raise torch.OutOfMemoryError("too many points")

    with pytest.raises(DeviceError, match="out of memory following 4 points"):
        drive(Greedy(), Frames(ramp), [View(QUERIES, None, (90, 120))], 8)


def test_max_frames_bounds_the_chunk(ramp):
    tracker = RampTracker()
    tracker.max_frames = 3
    video = Frames(ramp)
    drive(tracker, video, [View(QUERIES, None, (90, 120))], 8)
    assert max(t1 - t0 for t0, t1 in video.reads) == 3


class Differences(RampTracker):
    """Wants the last frame of a chunk again at the head of the next, and checks that it is that frame."""

    overlap = 1

    def advance(self, state, features):
        last = features.data["corner"][:, -1, 2]
        if state["step"]:
            assert torch.equal(features.data["corner"][:, 0, 2], state["last"])
            features = features.window(1, features.frames)
        xy, vis, state = super().advance(state, features)
        return xy, vis, {**state, "last": last}


@pytest.mark.parametrize("chunk", [1, 2, 3, 99])
def test_overlap_is_handed_again(ramp, chunk):
    queries = np.array([[20.5, 30.5, 0], [60.0, 10.0, 9]], np.float32)
    [(xy, _)] = drive(Differences(), Frames(ramp), [View(queries, None, (90, 120))], chunk)
    np.testing.assert_allclose(xy, truth(queries, 10), atol=1e-4)


def test_max_frames_holds_with_the_overlap(ramp):
    tracker = Differences()
    tracker.max_frames = 3
    video = Frames(ramp)
    drive(tracker, video, [View(QUERIES, None, (90, 120))], 8)
    assert max(t1 - t0 for t0, t1 in video.reads) == 3


class Corrects(RampTracker):
    """Is wrong about the last frame of each chunk, and says so with the next one."""

    overlap = 1

    def advance(self, state, features):
        right = state.get("right")  # position in the last frame, withheld so far
        if right is not None:
            features = features.window(1, features.frames)
        xy, vis, state = super().advance(state, features)
        state = {**state, "right": (xy[:, :, -1:].clone(), vis[:, :, -1:])}
        xy[:, :, -1] += 1000
        if right is not None:
            xy, vis = torch.cat([right[0], xy], 2), torch.cat([right[1], vis], 2)
        return xy, vis, state


@pytest.mark.parametrize("chunk", [1, 3, 99])
def test_the_overlap_may_be_told_anew(ramp, chunk):
    queries = np.array([[20.5, 30.5, 0], [60.0, 10.0, 4]], np.float32)
    [(xy, vis)] = drive(Corrects(), Frames(ramp), [View(queries, None, (90, 120))], chunk)
    ends = np.zeros(10)
    ends[9] = 1000  # nothing comes after it
    expected = truth(queries, 10) + ends[None, :, None]
    expected[1, 0] += 1000  # backward, from frame 4
    np.testing.assert_allclose(xy, expected, atol=1e-4)
    assert (vis == 1).all()
    tracker = Corrects()
    tracker.max_frames = 4
    frames = torch.from_numpy(ramp).permute(0, 3, 1, 2)[None].float() / 255
    whole, _ = tracker.track(frames, torch.from_numpy(queries)[None])
    np.testing.assert_allclose(whole[0].numpy(), expected, atol=1e-4)


def test_progress_ends_at_its_total(ramp):
    seen = []
    views = [View(QUERIES, None, (90, 120))]
    drive(RampTracker(), Frames(ramp), views, 4, progress=lambda *a: seen.append(a), stage="x")
    assert seen[-1] == ("x", 20, 20)
    assert all(a[1] < b[1] for a, b in pairwise(seen))


def test_many_views_go_in_parts(ramp, monkeypatch):
    monkeypatch.setattr(module, "_OPEN_VIEWS", 2)
    views = [View(QUERIES[i : i + 1], None, (90, 120)) for i in range(4)]
    for view, (xy, _) in zip(views, drive(RampTracker(), Frames(ramp), views, 4), strict=True):
        np.testing.assert_allclose(xy, truth(view.queries, 10), atol=1e-4)
