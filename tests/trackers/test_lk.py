"""Lucas-Kanade and its parts: patches, their alignment, search, dominant motion, and what the tracker makes of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from trackime.errors import DeviceError, InputError
from trackime.geometry import to_torch
from trackime.patches import (
    GRID,
    FramePair,
    GreyFrame,
    Templates,
    align_patches,
    identity,
    plausible,
    search,
    similarity,
)
from trackime.patches.framepair import _robust_affine
from trackime.patches.templates import sample
from trackime.trackers import create
from trackime.trackers.lk import LucasKanade


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """float32 [height, width], 0 .. 255, with detail at several scales."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width), np.float32)
    for sigma in (1.5, 4, 10):
        layer = cv2.GaussianBlur(rng.normal(size=image.shape).astype(np.float32), (0, 0), sigma)
        image += layer / layer.std()
    return np.clip(128 + 30 * image, 0, 255)


def video_of(frames: list[np.ndarray]) -> torch.Tensor:
    """[1, T, 3, H, W] of grey frames [H, W]."""
    return to_torch(np.stack([np.repeat(np.rint(f)[..., None], 3, 2) for f in frames]).astype(np.uint8))[None]


def warped(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The image moved by `matrix` [2, 3], given in pixels with centres at half-integers."""
    m = matrix.astype(np.float64).copy()
    m[:, 2] += m[:, :2] @ [0.5, 0.5] - 0.5
    size = image.shape[::-1]
    return cv2.warpAffine(image, m, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def about(centre: tuple[float, float], degrees: float, zoom: float) -> np.ndarray:
    """Rotation and zoom about `centre`, [2, 3]."""
    a = np.deg2rad(degrees)
    linear = zoom * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return np.c_[linear, np.array(centre) - linear @ centre]


class TestPatches:
    @pytest.mark.parametrize("stride", [1, 2, 3])
    def test_sampling_agrees_with_scipy(self, stride: int) -> None:
        rng = np.random.default_rng(0)
        image = texture(0, 40, 50)
        xy = rng.uniform(-20, 70, (30, 2)).astype(np.float32)
        affine = (identity(30) + rng.normal(size=(30, 2, 2)) * 0.3).astype(np.float32)
        fast = sample(image, xy, affine, stride)
        places = xy[:, None] + stride * np.einsum("nij,gj->ngi", affine, GRID) - 0.5
        slow = map_coordinates(image, [places[..., 1], places[..., 0]], order=1, mode="nearest")
        np.testing.assert_allclose(fast, slow, atol=0.02)

    def test_similarity_is_blind_to_gain_and_offset_and_knows_flat(self) -> None:
        patch = sample(texture(0, 60, 60), np.float32([[30, 30]]), None, 2)
        flat = np.full_like(patch, 90)
        assert similarity(patch, 0.8 * patch + 20)[0] > 0.99
        assert similarity(patch, 255 - patch)[0] < -0.8
        assert similarity(flat, flat + 5)[0] == pytest.approx(1)
        assert similarity(flat, patch)[0] < 0.3

    @pytest.mark.parametrize(
        ("degrees", "zoom", "shift"),
        [(0, 1, (1.6, -1.1)), (12, 1, (0.5, 0.4)), (-6, 1.12, (1, 1))],
    )
    def test_alignment_finds_the_warp(self, degrees: float, zoom: float, shift: tuple[float, float]) -> None:
        image = texture(1, 120, 120)
        matrix = about((60, 60), degrees, zoom)
        matrix[:, 2] += shift
        after = 0.9 * warped(image, matrix) + 10
        start = np.float32([[60, 60], [52.3, 65.8]])
        templates = Templates.cut(cv2.GaussianBlur(image, (0, 0), 1), start, 2)
        xy, affine, patch = align_patches(cv2.GaussianBlur(after, (0, 0), 1), templates, start, identity(2), 2, 12)
        np.testing.assert_allclose(xy, start @ matrix[:, :2].T + matrix[:, 2], atol=0.1)
        np.testing.assert_allclose(affine, np.tile(matrix[:, :2], (2, 1, 1)), atol=0.03)
        assert similarity(patch, templates.patch).min() > 0.98

    def test_alignment_never_makes_it_worse(self) -> None:
        rng = np.random.default_rng(2)
        start = rng.uniform(10, 90, (20, 2)).astype(np.float32)
        templates = Templates.cut(texture(2, 100, 100), start, 1)
        other = texture(3, 100, 100)
        before = similarity(sample(other, start, None, 1), templates.patch)
        patch = align_patches(other, templates, start, identity(20), 1, 6)[2]
        assert (similarity(patch, templates.patch) >= before).all()

    def test_plausible(self) -> None:
        cases = {(1, 0, 0, 1): True, (0, -1, 1, 0): True, (2.1, 0, 0, 2.1): False, (1, 0, 0, -1): False}
        cases |= {(1, 0, 0, 0.25): False, (1.4, 0, 0, 0.5): True, (1.6, 0, 0, 0.5): False}
        matrices = np.float32(list(cases)).reshape(-1, 2, 2)
        assert plausible(matrices).tolist() == list(cases.values())


class TestFrames:
    @pytest.mark.parametrize("stride", [1, 2, 3])
    def test_search_finds_what_moved_far(self, stride: int) -> None:
        image = np.rint(texture(4, 150, 160)).astype(np.uint8)
        moved = np.roll(image, (9, -12), (0, 1))
        start = np.float32([[80.5, 70.5], [60.5, 90.5]])
        patches = sample(GreyFrame(image, stride).smooth, start, None, stride)
        found = search(GreyFrame(moved, stride).coarse, stride, patches, start, np.float32([24, 24]))
        assert np.abs(found - (start + np.float32([-12, 9]))).max() <= stride

    def test_search_without_anything_to_go_by_stays(self) -> None:
        image = np.rint(texture(4, 60, 60)).astype(np.uint8)
        start = np.float32([[30, 30], [500, -400]])
        flat = np.full((2, len(GRID)), 7, np.float32)
        np.testing.assert_array_equal(search(GreyFrame(image, 1).coarse, 1, flat, start, np.float32([9, 9])), start)
        patches = sample(GreyFrame(image, 1).smooth, start[:1], None, 1)
        beyond = search(GreyFrame(image, 1).coarse, 1, patches, start[1:], np.float32([9]))
        np.testing.assert_array_equal(beyond, start[1:])

    def test_robust_affine_ignores_a_third_of_outliers(self) -> None:
        rng = np.random.default_rng(0)
        p = rng.uniform(0, 300, (120, 2))
        matrix = about((150, 100), 2, 1.02)
        q = p @ matrix[:, :2].T + matrix[:, 2] + rng.normal(size=p.shape) * 0.1
        q[:40] += [15, -9]
        np.testing.assert_allclose(_robust_affine(p, q), matrix, atol=0.5, rtol=0)
        moved = p @ _robust_affine(p, q)[:, :2].T + _robust_affine(p, q)[:, 2]
        assert np.abs(moved - (p @ matrix[:, :2].T + matrix[:, 2])).max() < 0.5
        np.testing.assert_array_equal(_robust_affine(p[:5], q[:5]), np.eye(2, 3))

    def test_dominant_motion_of_a_pan(self) -> None:
        image = texture(5, 100, 140)
        pan = np.array([[1, 0, 3.0], [0, 1, -2.0]])
        frames = [GreyFrame(np.rint(f).astype(np.uint8), 1) for f in (image, warped(image, pan))]
        np.testing.assert_allclose(FramePair(*frames, 15, 2).motion, pan, atol=0.15)
        blank = GreyFrame(np.full((50, 60), 9, np.uint8), 1)
        np.testing.assert_array_equal(FramePair(blank, blank, 15, 1).motion, np.eye(2, 3))


def passing(frames: int = 16) -> tuple[torch.Tensor, np.ndarray]:
    """A still scene that a bar passes over, and the columns [frames, 2] it covers."""
    scene, bar = texture(6, 96, 128), texture(7, 96, 128)
    covered = np.array([[10 * t - 30, 10 * t] for t in range(frames)])
    clip = []
    for x0, x1 in covered:
        frame = scene.copy()
        frame[:, max(0, x0) : max(0, x1)] = bar[:, : min(128, max(0, x1)) - max(0, x0)]
        clip.append(frame)
    return video_of(clip), covered


class TestTracker:
    def test_found_again_after_occlusion(self) -> None:
        video, covered = passing()
        query = torch.tensor([[[60.5, 48.5, 0.0], [70.2, 30.1, 0.0], [58.0, 66.0, 0.0]]])
        xy, visibility = create("lk").track(video, query)
        for n, (x, _, _) in enumerate(query[0].tolist()):
            inside = (covered[:, 0] + 4 < x) & (x < covered[:, 1] - 4)
            clear = (x < covered[:, 0] - 18) | (x > covered[:, 1] + 12)
            assert (visibility[0, n, inside] <= 0.5).all()
            assert (visibility[0, n, clear] > 0.5).all()
            assert (xy[0, n, clear] - query[0, n, :2]).norm(dim=-1).max() < 0.3

    def test_without_redetection_it_stays_lost(self) -> None:
        video, _ = passing()
        query = torch.tensor([[[60.5, 48.5, 0.0]]])
        _, visibility = create("lk", redetect=False).track(video, query)
        lost = int((visibility[0, 0] <= 0.5).nonzero()[0])
        assert (visibility[0, 0, lost:] <= 0.5).all()

    def test_no_drift_under_rotation_and_zoom(self) -> None:
        image = texture(8, 120, 140)
        matrices = [about((70, 60), 2.5 * t, 1 + 0.008 * t) for t in range(20)]
        query = torch.tensor([[[60.3, 50.7, 0.0], [85.5, 62.0, 0.0], [70.0, 78.4, 0.0]]])
        xy, visibility = create("lk").track(video_of([warped(image, m) for m in matrices]), query)
        true = np.stack([query[0, :, :2].numpy() @ m[:, :2].T + m[:, 2] for m in matrices], 1)
        assert np.linalg.norm(xy[0].numpy() - true, axis=-1).max() < 0.25
        assert (visibility > 0.5).all()

    def test_coasts_with_the_camera_while_hidden(self) -> None:
        big, bar = texture(9, 96, 300), texture(10, 96, 40)
        frames = []
        for t in range(12):
            frame = big[:, 4 * t : 4 * t + 160].copy()
            if t >= 4:
                x = 100 - 4 * t
                frame[40:60, x - 12 : x + 12] = bar[40:60, :24]
            frames.append(frame)
        xy, visibility = create("lk").track(video_of(frames), torch.tensor([[[100.0, 50.0, 0.0]]]))
        assert visibility[0, 0, :3].min() > 0.5
        assert abs(float(xy[0, 0, -1, 0]) - (100 - 4 * 11)) < 4

    def test_a_hundred_points_are_a_hundred_times_one(self) -> None:
        video, _ = passing(8)
        rng = np.random.default_rng(1)
        queries = torch.tensor(rng.uniform((-2, -2, 0), (130, 98, 8), (1, 100, 3))).floor()
        tracker = create("lk")
        features = tracker.encode(video)
        xy, visibility = tracker.track_features(features, queries)
        chunked = create("lk", query_chunk=7).track_features(features, queries)
        assert torch.equal(chunked[0], xy)
        assert torch.equal(chunked[1], visibility)
        for n in range(0, 100, 9):
            alone = tracker.track_features(features, queries[:, n : n + 1])
            assert torch.equal(alone[0], xy[:, n : n + 1])
            assert torch.equal(alone[1], visibility[:, n : n + 1])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"window": 4}, "window: expected an odd number of pixels of 5 or more, got 4"),
            ({"window": 3}, "got 3"),
            ({"levels": -1}, "levels: expected 0 or more, got -1"),
            ({"query_chunk": 0}, "query_chunk: expected 1 or more, got 0"),
            ({"win": 21}, "tracker lk takes no 'win'"),
        ],
    )
    def test_bad_options(self, options: dict[str, int], message: str) -> None:
        with pytest.raises(InputError, match=message):
            create("lk", **options)

    def test_devices(self) -> None:
        assert LucasKanade(device="auto").device == torch.device("cpu")
        with pytest.raises(DeviceError):
            LucasKanade(device="cuda:99")
