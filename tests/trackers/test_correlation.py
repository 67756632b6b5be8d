"""The cost-volume tracker: slow oracles, invariances of the descriptors, and what it must find on made-up motion."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trackime.errors import InputError, ShapeError
from trackime.patches.descriptors import (
    SIZE,
    _turn_bins,
    blur,
    cell_centres,
    describe,
    describe_cells,
    describe_frames,
    describe_warped,
    inverse2,
    lab,
    surround,
)
from trackime.patches.grid_templates import (
    CLOSE,
    WIDE,
    align_grid,
    crop_templates,
    sample_templates,
    sane_warps,
    solve_positive,
    support_weights,
)
from trackime.trackers import create
from trackime.trackers._costvolume import cost_volume, find_peaks, motion_prior, refine_peaks
from trackime.trackers.correlation import Correlation


def texture(seed: int, h: int, w: int) -> Tensor:
    """Smooth coloured noise [3, h, w] in [0, 1], structure from 2 to 20 px."""
    rng = torch.Generator().manual_seed(seed)
    image = torch.full((3, h, w), 0.5)
    for sigma, strength in ((1.5, 0.10), (4.0, 0.14), (12.0, 0.18)):
        noise = blur(torch.randn(1, 3, h, w, generator=rng), sigma)[0]
        image += noise / noise.std() * strength
    return image.clamp(0, 1)


def moved(image: Tensor, matrix: Tensor, shift: Tensor, size: tuple[int, int]) -> Tensor:
    """The frame [3, *size] that shows at x what `image` shows at matrix^-1 (x - shift)."""
    h, w = size
    places = cell_centres(h, w, 1, image)[0]
    source = (places - shift) @ torch.linalg.inv(matrix).T
    grid = source * 2 / torch.tensor([image.shape[2], image.shape[1]]) - 1
    out = torch.nn.functional.grid_sample(
        image[None], grid.view(1, h, w, 2), mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return out[0].clamp(0, 1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


def turn(degrees: float, scale: float = 1.0) -> Tensor:
    a = math.radians(degrees)
    return scale * torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])


def grid_queries(w: float, h: float, t: int = 0, margin: float = 40.0, count: int = 4) -> Tensor:
    x = torch.linspace(margin, w - margin, count) + 0.3
    y = torch.linspace(margin, h - margin, count) - 0.2
    xy = torch.stack(torch.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    return torch.cat([xy, torch.full((len(xy), 1), float(t))], 1)[None]


@pytest.fixture(scope="module")
def pan() -> tuple[Tensor, Tensor]:
    """A texture moving by (2.3, -1.4) px a frame: frames [1, 8, 3, 256, 256], shift a frame [2]."""
    image, step = texture(0, 320, 320), torch.tensor([2.3, -1.4])
    frames = [moved(image, torch.eye(2), t * step - 20, (256, 256)) for t in range(8)]
    return torch.stack(frames)[None], step


# Bad input


@pytest.mark.parametrize(
    "options",
    [
        {"input_size": (250, 256)},
        {"input_size": (16, 256)},
        {"input_size": (256,)},
        {"query_chunk": 0},
        {"recent_weight": 1.0},
        {"motion_weight": -1.0},
        {"motion_scale": 0.0},
    ],
)
def test_bad_options(options: dict) -> None:
    with pytest.raises(InputError):
        Correlation(**options)


def test_bad_shapes() -> None:
    tracker = Correlation(input_size=(64, 64))
    with pytest.raises(ShapeError):
        tracker.encode(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ShapeError):
        tracker.open(torch.zeros(1, 3, 2), (64, 64))
    features = tracker.encode(torch.zeros(1, 1, 3, 64, 64))
    with pytest.raises(ShapeError):
        tracker.advance(tracker.open(torch.zeros(2, 3, 3), (64, 64)), features)


# Cost volume


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(4, 9), st.integers(4, 9))
def test_peaks_against_loops(seed: int, n: int, h: int, w: int) -> None:
    """The cost volume, its peaks and the soft-argmax, cell by cell."""
    rng = torch.Generator().manual_seed(seed)
    queries, cells = torch.randn(n, 6, generator=rng), torch.randn(h * w, 6, generator=rng)
    centres = cell_centres(4 * h, 4 * w, 4, cells)[0]
    expected, scale = torch.rand(n, 2, generator=rng) * 4 * h, torch.rand(n, generator=rng) * 5 + 2
    cost = cost_volume(queries, cells)
    prior = motion_prior(centres, expected, scale) * 0.5
    peaks = find_peaks(cost, prior, (h, w), 4, temperature=0.3, radius=2, exclusion=4.0)
    for i in range(n):
        value = {}
        for r in range(h):
            for c in range(w):
                x, y = 4 * c + 2, 4 * r + 2
                dot = sum(float(queries[i, d]) * float(cells[r * w + c, d]) for d in range(6))
                far = (x - float(expected[i, 0])) ** 2 + (y - float(expected[i, 1])) ** 2
                value[r, c] = (dot, dot - 0.5 * math.log(1 + far / float(scale[i]) ** 2))
        best = max(value, key=lambda k: value[k][1])
        near = [k for k in value if max(abs(k[0] - best[0]), abs(k[1] - best[1])) <= 2]
        weight = {k: math.exp((value[k][1] - value[best][1]) / 0.3) for k in near}
        x = sum(weight[k] * (4 * k[1] + 2) for k in near) / sum(weight.values())
        y = sum(weight[k] * (4 * k[0] + 2) for k in near) / sum(weight.values())
        rest = [k for k in value if max(abs(k[0] - best[0]), abs(k[1] - best[1])) > 1]
        second = max(rest, key=lambda k: value[k][1])
        assert peaks.xy[i].tolist() == pytest.approx([x, y], abs=1e-2)
        assert float(peaks.value[i]) == pytest.approx(value[best][0], abs=1e-4)
        assert float(peaks.second[i]) == pytest.approx(value[second][0], abs=1e-4)
        assert peaks.second_xy[i].tolist() == [4 * second[1] + 2, 4 * second[0] + 2]


def test_refine_finds_the_top_of_a_parabola() -> None:
    axis = torch.arange(-2, 3) * 2.0
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    tops = torch.tensor([[0.7, -1.6], [2.9, 0.2], [0.0, 0.0]])
    maps = torch.stack([1 - 0.01 * (x - tx) ** 2 - 0.02 * (y - ty) ** 2 for tx, ty in tops.tolist()])
    assert torch.allclose(refine_peaks(maps, 2.0)[0], tops, atol=1e-3)


def test_flat_maps_stay_in_range() -> None:
    offset, value = refine_peaks(torch.zeros(2, 5, 5), 2.0)
    assert offset.abs().max() <= 4 and (value == 0).all()


# Descriptors


def test_lab_against_skimage() -> None:
    color = pytest.importorskip("skimage.color")
    rgb = texture(3, 16, 20)
    want = color.rgb2lab(rgb.permute(1, 2, 0).double().numpy())
    assert np.abs(lab(rgb[None])[0].permute(1, 2, 0).numpy() - want).max() < 0.02


def test_describe_cells_are_describe_at_their_centres() -> None:
    maps = describe_frames(lab(texture(1, 64, 96)[None]))
    cells = describe_cells(maps)
    assert cells.shape == (1, 16 * 24, SIZE)
    one = describe(maps, torch.tensor([[[4 * 5 + 2.0, 4 * 7 + 2.0]]]))
    assert torch.allclose(cells[0, 7 * 24 + 5], one[0, 0], atol=1e-5)
    assert float(cells.norm(dim=-1).max()) <= 1 + 1e-5


def test_descriptors_move_with_the_picture() -> None:
    image = texture(2, 128, 128)
    maps = describe_frames(lab(torch.stack([image, image.roll((8, 12), (1, 2))])))
    xy = torch.tensor([[50.0, 60.0], [71.3, 44.9]])
    a, b = describe(maps, torch.stack([xy, xy + torch.tensor([12.0, 8.0])]))
    assert torch.allclose(a, b, atol=1e-4)


def test_descriptors_withstand_light() -> None:
    """Gain changes little; another place changes much."""
    image = texture(2, 128, 128)
    maps = describe_frames(lab(torch.stack([image, image * 0.85])))
    xy = torch.tensor([[50.0, 60.0], [71.3, 44.9]])
    a, b = describe(maps, torch.stack([xy, xy]))
    same, other = cosine(a, b).min(), cosine(a, b.flip(0)).max()
    assert same > 0.9 and same > other + 0.3


@pytest.mark.parametrize("degrees", [-90.0, -45.0, 30.0, 120.0])
def test_warped_descriptors_follow_a_turn(degrees: float) -> None:
    image, matrix = texture(4, 128, 128), turn(degrees)
    shift = torch.tensor([64.0, 64.0]) - matrix @ torch.tensor([64.0, 64.0])
    turned = moved(image, matrix, shift, (128, 128))
    first, second = (describe_frames(lab(f[None])) for f in (image, turned))
    xy = torch.tensor([[64.0, 64.0], [70.0, 58.0]])
    want = describe(second, (xy @ matrix.T + shift)[None])[0]
    told = describe_warped(surround(first, xy), matrix.expand(2, 2, 2))
    plain = describe(first, xy[None])[0]
    assert (cosine(told, want) > 0.9).all()
    assert (cosine(told, want) > cosine(plain, want) + 0.1).all()


def test_turn_bins() -> None:
    histogram = torch.arange(8.0)
    assert _turn_bins(histogram, torch.tensor(1.0)).tolist() == [7, 0, 1, 2, 3, 4, 5, 6]
    assert _turn_bins(histogram, torch.tensor(-0.5))[0] == 0.5


def test_inverse2() -> None:
    matrix = torch.randn(5, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(inverse2(matrix), torch.linalg.inv(matrix), atol=1e-4)


# Alignment


def test_align_recovers_an_affine_motion() -> None:
    image = texture(5, 128, 128)
    matrix = turn(7.0, 1.08) @ torch.tensor([[1.0, 0.05], [0.0, 1.0]])
    xy = torch.tensor([[60.3, 64.8], [75.1, 50.2]])
    shift = torch.tensor([64.0, 64.0]) - matrix @ torch.tensor([64.0, 64.0]) + torch.tensor([0.9, -1.3])
    a, b = lab(image[None]), lab(moved(image, matrix, shift, (128, 128))[None])
    crops = crop_templates(a, xy)
    patches = sample_templates(crops, WIDE, support_weights(crops, WIDE))
    start = torch.eye(2).expand(2, 2, 2)
    fit = align_grid(b, patches, xy, start, iterations=5, affine=10)
    assert (fit.xy - (xy @ matrix.T + shift)).norm(dim=-1).max() < 0.15
    assert (fit.warp - matrix).abs().max() < 0.05
    assert fit.correlation.min() > 0.97
    away = align_grid(b, patches, xy + 40, start, iterations=0)
    assert away.correlation.max() < fit.correlation.min() - 0.2


def test_solve_positive() -> None:
    rng = torch.Generator().manual_seed(0)
    root, right = torch.randn(4, 6, 6, generator=rng), torch.randn(4, 6, generator=rng)
    matrix = root @ root.mT + 0.1 * torch.eye(6)
    want = torch.linalg.solve(matrix.double(), right[..., None].double())[..., 0]
    assert torch.allclose(solve_positive(matrix, right).double(), want, rtol=1e-3, atol=1e-3)


def test_align_leaves_a_flat_picture_alone() -> None:
    image = torch.full((1, 3, 64, 64), 40.0)
    xy = torch.tensor([[30.0, 31.0]])
    crops = crop_templates(image, xy)
    fit = align_grid(
        image, sample_templates(crops, CLOSE, support_weights(crops, CLOSE)), xy, torch.eye(2)[None], 3, affine=3
    )
    assert torch.equal(fit.xy, xy) and torch.isfinite(fit.correlation).all()


def test_sane_warps() -> None:
    good, flat, mirrored = turn(50, 1.5), torch.diag(torch.tensor([1.0, 0.1])), torch.diag(torch.tensor([1.0, -1.0]))
    out = sane_warps(torch.stack([good, flat, mirrored]), torch.eye(2).expand(3, 2, 2))
    assert torch.equal(out, torch.stack([good, torch.eye(2), torch.eye(2)]))


# The tracker


def test_registry() -> None:
    tracker = create("correlation", input_size=(128, 128))
    assert isinstance(tracker, Correlation) and tracker.input_size == (128, 128) and tracker.name == "correlation"


def test_translation(pan: tuple[Tensor, Tensor]) -> None:
    frames, step = pan
    queries = grid_queries(256, 256, t=2)
    xy, visibility = Correlation().track(frames, queries)
    want = queries[0, :, None, :2] + (torch.arange(8.0) - 2)[None, :, None] * step
    error = (xy[0] - want).norm(dim=-1)
    assert error.median() < 0.15 and error.max() < 1.0
    assert (visibility > 0.5).float().mean() > 0.95
    assert torch.equal(xy[0, :, 2], queries[0, :, :2]) and (visibility[0, :, 2] == 1).all()


@pytest.mark.parametrize("h, w", [(480, 854), (120, 400)])
def test_frames_of_other_shapes(h: int, w: int) -> None:
    """Coordinates are those of the frames given, on both axes."""
    image, step = texture(6, h + 60, w + 60), torch.tensor([0.02 * w, -0.012 * h])
    frames = torch.stack([moved(image, torch.eye(2), t * step - 30, (h, w)) for t in range(4)])[None]
    queries = grid_queries(w, h, margin=0.25 * h, count=3)
    xy, visibility = Correlation().track(frames, queries)
    want = queries[0, :, None, :2] + torch.arange(4.0)[None, :, None] * step
    error = (xy[0] - want).abs() * torch.tensor([256 / w, 256 / h])
    assert error.median() < 0.25 and error.max() < 2.0
    assert torch.equal(xy[0, :, 0], queries[0, :, :2])
    assert (visibility > 0.5).float().mean() > 0.9


def test_rotation_and_zoom() -> None:
    """60 degrees and a third larger over the clip, about the centre."""
    image, frames, want = texture(7, 256, 256), [], []
    queries = grid_queries(256, 256, margin=80, count=3)
    centre = torch.tensor([128.0, 128.0])
    for t in range(13):
        matrix = turn(5.0 * t, 1 + 0.025 * t)
        shift = centre - matrix @ centre
        frames.append(moved(image, matrix, shift, (256, 256)))
        want.append(queries[0, :, :2] @ matrix.T + shift)
    xy, visibility = Correlation().track(torch.stack(frames)[None], queries)
    error = (xy[0] - torch.stack(want, 1)).norm(dim=-1)
    assert error.median() < 0.3 and error.max() < 2.0
    assert (visibility > 0.5).float().mean() > 0.9


def test_hidden_then_found_again(pan: tuple[Tensor, Tensor]) -> None:
    """A covered point is not visible; when the cover goes it is found, though it has moved on."""
    frames, _ = pan
    image, step = texture(0, 320, 320), torch.tensor([6.0, 4.0])
    frames = torch.stack([moved(image, torch.eye(2), t * step - 40, (256, 256)) for t in range(10)])[None].clone()
    queries = torch.tensor([[[100.0, 110.0, 0.0], [120.5, 90.5, 0.0]]])
    cover = texture(99, 100, 120).flip(0) * 0.7
    for t in range(3, 7):
        frames[0, t, :, 85:185, 85:205] = cover
    xy, visibility = Correlation().track(frames, queries)
    want = queries[0, :, None, :2] + torch.arange(10.0)[None, :, None] * step
    assert (visibility[0, :, :3] > 0.5).all()
    assert (visibility[0, :, 3:7] < 0.5).all()
    assert (visibility[0, :, 8:] > 0.5).all()
    assert (xy[0] - want).norm(dim=-1)[:, 8:].max() < 1.0


def test_leaving_the_frame() -> None:
    image, step = texture(8, 400, 400), torch.tensor([-16.0, 0.0])
    frames = torch.stack([moved(image, torch.eye(2), t * step - 20, (256, 256)) for t in range(8)])[None]
    xy, visibility = Correlation().track(frames, torch.tensor([[[60.0, 128.0, 0.0]]]))
    assert (visibility[0, 0, :3] > 0.5).all()
    assert (visibility[0, 0, 5:] < 0.5).all()
    assert torch.isfinite(xy).all()


def test_before_the_query() -> None:
    """`advance` alone: at rest, not visible."""
    tracker = Correlation(input_size=(64, 64))
    features = tracker.encode(texture(1, 64, 64).expand(1, 3, 3, 64, 64))
    xy, visibility, _ = tracker.advance(tracker.open(torch.tensor([[[20.0, 30.0, 2.0]]]), (64, 64)), features)
    assert visibility.tolist() == [[[0.0, 0.0, 1.0]]]
    assert xy.tolist() == [[[[20.0, 30.0]] * 3]]


@pytest.mark.parametrize("sizes", [(1,) * 8, (3, 5), (7, 1)])
def test_chunks_change_nothing(pan: tuple[Tensor, Tensor], sizes: tuple[int, ...]) -> None:
    frames, _ = pan
    tracker = Correlation(input_size=(128, 128))
    queries = torch.cat([grid_queries(256, 256, t=0, count=2), grid_queries(256, 256, t=4, count=3)], 1)
    whole = tracker.advance(tracker.open(queries, (256, 256)), tracker.encode(frames))
    state, parts, first = tracker.open(queries, (256, 256)), [], 0
    for size in sizes:
        xy, visibility, state = tracker.advance(state, tracker.encode(frames[:, first : first + size]))
        parts.append((xy, visibility))
        first += size
    assert torch.equal(torch.cat([p[0] for p in parts], 2), whole[0])
    assert torch.equal(torch.cat([p[1] for p in parts], 2), whole[1])


def test_points_are_independent(pan: tuple[Tensor, Tensor]) -> None:
    frames, _ = pan
    queries = grid_queries(256, 256, t=1)
    xy, visibility = Correlation().track(frames[:, :5], queries)
    order = torch.randperm(queries.shape[1], generator=torch.Generator().manual_seed(0))
    xy2, visibility2 = Correlation(query_chunk=5).track(frames[:, :5], queries[:, order])
    assert torch.allclose(xy2, xy[:, order], atol=1e-4)
    assert torch.allclose(visibility2, visibility[:, order], atol=1e-4)


def test_batches_are_independent_and_results_repeat(pan: tuple[Tensor, Tensor]) -> None:
    frames, _ = pan
    tracker, queries = Correlation(input_size=(128, 128)), grid_queries(256, 256, count=2)
    both = torch.cat([frames[:, :4], frames[:, :4].flip(1)])
    xy, visibility = tracker.track(both, queries.expand(2, -1, -1))
    for b in range(2):
        one_xy, one_visibility = tracker.track(both[b : b + 1], queries)
        assert torch.equal(one_xy[0], xy[b]) and torch.equal(one_visibility[0], visibility[b])


def test_no_points() -> None:
    tracker = Correlation(input_size=(64, 64))
    xy, visibility = tracker.track(torch.rand(1, 3, 3, 48, 80), torch.zeros(1, 0, 3))
    assert xy.shape == (1, 0, 3, 2) and visibility.shape == (1, 0, 3)


def test_black_frames() -> None:
    """Nothing to see is no error, and no NaN."""
    tracker = Correlation(input_size=(64, 64))
    xy, visibility = tracker.track(torch.zeros(1, 3, 3, 48, 80), torch.tensor([[[0.0, 0.0, 0.0], [80.0, 48.0, 1.0]]]))
    assert torch.isfinite(xy).all() and ((visibility >= 0) & (visibility <= 1)).all()


@pytest.mark.gpu
def test_cuda_agrees(pan: tuple[Tensor, Tensor]) -> None:
    frames, _ = pan
    queries = grid_queries(256, 256)
    xy, visibility = Correlation().track(frames, queries)
    gpu_xy, gpu_visibility = Correlation(device="cuda").track(frames, queries)
    assert (gpu_xy.cpu() - xy).norm(dim=-1).max() < 0.1
    assert ((gpu_visibility.cpu() > 0.5) == (visibility > 0.5)).float().mean() > 0.98
