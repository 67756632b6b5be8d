"""The embedded segmenter and what it is made of: minimum cuts, colour mixtures, the region tree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime import segmenters
from trackime.errors import InputError, ShapeError
from trackime.imaging import build_tree, contrast_edges, fit, log_ratio, min_cut, to_lab
from trackime.imaging.mincut import _DIRECTIONS, _energy
from trackime.imaging.regions import _superpixels
from trackime.segmenters import guided_filter, signed_distance
from trackime.segmenters.graphcut import GraphCut, _from_box, _soften


def _disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    return np.asarray((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)


def _scene(size: tuple[int, int] = (72, 96), seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """A textured red disc on textured green: frame [3, H, W] and the disc's mask."""
    mask = _disc(size, (size[1] * 0.4, size[0] * 0.5), size[0] * 0.25)
    colours = np.where(mask[..., None], [0.8, 0.25, 0.2], [0.2, 0.5, 0.25])
    noise = np.random.default_rng(seed).normal(0, 0.03, (*size, 3))
    return torch.from_numpy(np.clip(colours + noise, 0, 1).astype(np.float32)).permute(2, 0, 1), mask


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


class TestMinCut:
    def _random(self, seed: int, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        # Multiples of the capacities' unit: rounding must not blur the comparison.
        logits = rng.integers(-200, 201, (h, w)) / 64
        edges = rng.integers(0, 100, (4, h, w)) / 64
        for k, (dy, dx) in enumerate(_DIRECTIONS):
            for y, x in itertools.product(range(h), range(w)):
                if not (0 <= y + dy < h and 0 <= x + dx < w):
                    edges[k, y, x] = 0
        return logits, edges

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3))
    def test_equals_brute_force(self, seed: int, h: int, w: int) -> None:
        logits, edges = self._random(seed, h, w)
        labellings = itertools.product([False, True], repeat=h * w)
        best = min(_energy(np.array(x).reshape(h, w), logits, edges) for x in labellings)
        assert _energy(min_cut(logits, edges), logits, edges) == pytest.approx(best, abs=1e-9)

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 10**6))
    def test_decided_pixels_stay_and_pull(self, seed: int) -> None:
        logits, edges = self._random(seed, 3, 4)
        rng = np.random.default_rng(seed)
        free, fixed = rng.random((3, 4)) < 0.6, rng.random((3, 4)) < 0.5
        got = min_cut(logits, edges, free, fixed)
        assert (got[~free] == fixed[~free]).all()
        best = np.inf
        for bits in itertools.product([False, True], repeat=int(free.sum())):
            trial = fixed.copy()
            trial[free] = bits
            best = min(best, _energy(trial, logits, edges))
        assert _energy(got, logits, edges) == pytest.approx(best, abs=1e-9)

    def test_no_labelling_of_a_larger_grid_is_cheaper(self) -> None:
        logits, edges = self._random(5, 20, 30)
        best = _energy(min_cut(logits, edges), logits, edges)
        rng = np.random.default_rng(0)
        for _ in range(50):
            assert _energy(rng.random((20, 30)) < rng.random(), logits, edges) >= best
        assert _energy(logits > 0, logits, edges) >= best

    def test_without_borders_the_sign_decides(self) -> None:
        logits = np.random.default_rng(0).normal(size=(9, 7))
        assert (min_cut(logits, np.zeros((4, 9, 7))) == (logits > 1 / 128)).all()

    def test_edges_are_cheap_on_contrast_and_absent_outside(self) -> None:
        image = np.zeros((5, 6, 3))
        image[:, 3:] = 50
        edges = contrast_edges(image, 2.0, floor=0.1)
        assert edges[0, 2, 2] < 0.3 and edges[0, 2, 1] == pytest.approx(2.0)
        assert (edges[0, :, -1] == 0).all() and (edges[2, -1] == 0).all() and (edges[1, :, 0] == 0).all()
        assert edges[3, 0, 0] == pytest.approx(2 / np.sqrt(2))

    def test_bad_input(self) -> None:
        with pytest.raises(ShapeError, match="edges"):
            min_cut(np.zeros((3, 3)), np.zeros((4, 3, 4)))
        with pytest.raises(InputError, match="finite"):
            min_cut(np.full((3, 3), np.nan), np.zeros((4, 3, 3)))
        with pytest.raises(InputError, match="fixed"):
            min_cut(np.zeros((3, 3)), np.zeros((4, 3, 3)), np.ones((3, 3), bool))

    def test_nothing_to_decide(self) -> None:
        fixed = np.eye(3, dtype=bool)
        assert (min_cut(np.zeros((3, 3)), np.zeros((4, 3, 3)), np.zeros((3, 3), bool), fixed) == fixed).all()


class TestColour:
    def test_density_integrates_to_one(self) -> None:
        rng = np.random.default_rng(0)
        mixture = fit(np.concatenate([rng.normal(0, 2, (300, 2)), rng.normal(12, 3, (300, 2))]), 3)
        assert mixture is not None
        axis = np.arange(-30, 50, 0.5)
        grid = np.stack(np.meshgrid(axis, axis), -1)
        assert np.exp(mixture.log_likelihood(grid)).sum() * 0.25 == pytest.approx(1, abs=1e-3)

    def test_one_gaussian_has_its_samples_moments(self) -> None:
        x = np.random.default_rng(1).normal([5, -3, 2], [4, 2, 3], (1000, 3))
        mixture = fit(x, 1)
        assert mixture is not None
        assert mixture.means[0] == pytest.approx(x.mean(0), abs=1e-6)
        covariance = np.linalg.inv(mixture.whiten[0].T @ mixture.whiten[0])
        assert covariance == pytest.approx(np.cov(x.T, bias=True) + 1.5**2 * np.eye(3), abs=1e-6)

    def test_reproducible_and_telling(self) -> None:
        rng = np.random.default_rng(0)
        a, b = rng.normal([60, 40, 20], 5, (3000, 3)), rng.normal([40, -30, 20], 5, (3000, 3))
        first, second = fit(a, seed=3), fit(a, seed=3)
        assert first is not None and second is not None
        assert (first.means == second.means).all()
        ratio = log_ratio(np.stack([a[:5], b[:5]]), first, fit(b))
        assert (ratio[0] > 3).all() and (ratio[1] < -3).all()
        # A colour that neither knows says nothing.
        assert abs(float(log_ratio(np.array([100.0, 90, -90]), first, fit(b)))) < 0.1

    def test_no_samples(self) -> None:
        assert fit(np.zeros((0, 3))) is None
        assert (log_ratio(np.zeros((2, 2, 3)), None, fit(np.zeros((20, 3)))) == 0).all()

    def test_lab_of_white(self) -> None:
        white = np.full((1, 1, 3), 255, np.uint8)
        assert to_lab(white)[0, 0] == pytest.approx([100, 0, 0], abs=0.1)
        with pytest.raises(ShapeError, match="frame"):
            to_lab(np.zeros((4, 4)))


class TestRegions:
    def test_tree_is_whole(self) -> None:
        frame, mask = _scene()
        tree = build_tree(to_lab(frame.permute(1, 2, 0).numpy()))
        assert tree.area[-1] == mask.size and tree.perimeter[-1] == 0
        assert tree.parent[-1] == -1 and (tree.parent[:-1] >= 0).all()
        for node in (0, len(tree.area) // 2, len(tree.area) - 3):
            assert tree.mask(node).sum() == tree.area[node]
        # Somewhere in the tree is the disc.
        chain = tree.ancestors(int(tree.leaves[36, 38]))
        assert max(_iou(tree.mask(n), mask) for n in chain) > 0.9

    def test_superpixels_cover_even_a_pixel(self) -> None:
        assert (_superpixels(np.zeros((1, 1), np.float32), 9) == 0).all()
        regions = _superpixels(np.random.default_rng(0).random((40, 30)).astype(np.float32), 10)
        assert set(np.unique(regions)) == set(range(12))


class TestGraphCut:
    def _ask(self, segmenter: GraphCut, frame: torch.Tensor, xy: list, labels: list, **more) -> tuple:  # type: ignore[no-untyped-def]
        points = torch.tensor([xy], dtype=torch.float32).reshape(1, -1, 2)
        logits, score = segmenter.decode(segmenter.encode(frame), points, torch.tensor([labels]).reshape(1, -1), **more)
        return logits[0].numpy(), float(score[0])

    def test_is_registered(self) -> None:
        segmenter = segmenters.create("graphcut", side=64)
        assert isinstance(segmenter, GraphCut) and segmenter.shares_masks and segmenter.side == 64
        with pytest.raises(InputError, match="sidee"):
            segmenters.create("graphcut", sidee=3)

    def test_click_yields_the_disc(self) -> None:
        frame, mask = _scene()
        logits, score = self._ask(GraphCut(), frame, [[40, 36]], [1])
        assert logits.shape == mask.shape and _iou(logits > 0, mask) > 0.93 and score > 0.8

    def test_larger_frame_is_cut_small_and_drawn_fine(self) -> None:
        frame, mask = _scene((240, 322))
        logits, _ = self._ask(GraphCut(side=96), frame, [[130, 120]], [1])
        assert logits.shape == mask.shape and _iou(logits > 0, mask) > 0.93

    def test_box(self) -> None:
        frame, mask = _scene()
        box = torch.tensor([[15.0, 12, 62, 60]])
        logits, _ = self._ask(GraphCut(), frame, [], [], boxes=box)
        assert _iou(logits > 0, mask) > 0.93

    def test_prior_shifted_by_some_pixels_is_mended(self) -> None:
        frame, mask = _scene()
        shifted = np.roll(mask, 3, 1)
        prior = torch.from_numpy(signed_distance(shifted) / 3)[None]
        logits, _ = self._ask(GraphCut(), frame, [], [], prior=prior)
        assert _iou(logits > 0, mask) > 0.93 > _iou(shifted, mask)

    def test_negative_point_and_padding(self) -> None:
        frame, mask = _scene()
        left = mask & (np.arange(mask.shape[1]) < 38)
        frame = torch.where(torch.from_numpy(left), torch.tensor([0.7, 0.3, 0.6])[:, None, None], frame)
        both, _ = self._ask(GraphCut(), frame, [[45, 36], [30, 36]], [1, 1])
        assert _iou(both > 0, mask) > 0.9
        one, _ = self._ask(GraphCut(), frame, [[45, 36], [30, 36], [-9, 1e6]], [1, 0, -1])
        assert one[36, 45] > 0 > one[36, 30] and _iou(one > 0, mask & ~left) > 0.85

    def test_several_clicks_mean_all_between_them(self) -> None:
        frame, mask = _scene()
        y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
        quarter = 2 * (y > 36) + (x > 38)
        colours = np.array([[0.8, 0.25, 0.2], [0.2, 0.2, 0.8], [0.85, 0.8, 0.2], [0.1, 0.1, 0.1]])
        noise = np.random.default_rng(1).normal(0, 0.03, (*mask.shape, 3))
        patched = np.clip(colours[quarter] + noise, 0, 1).transpose(2, 0, 1)
        frame = torch.where(torch.from_numpy(mask), torch.from_numpy(patched).float(), frame)
        one, _ = self._ask(GraphCut(), frame, [[31, 29]], [1])
        clicks = [[31, 29], [46, 29], [31, 43], [46, 43], [38, 36]]
        five, _ = self._ask(GraphCut(), frame, clicks, [1] * 5)
        assert _iou(one > 0, mask) < 0.5 and _iou(five > 0, mask) > 0.85
        # The same click again says nothing new.
        again, _ = self._ask(GraphCut(), frame, [[31, 29]] * 4, [1] * 4)
        assert ((again > 0) == (one > 0)).all()

    def test_prompts_do_not_touch_each_other(self) -> None:
        frame, _ = _scene()
        segmenter = GraphCut()
        embedded = segmenter.encode(frame)
        points = torch.tensor([[[40.0, 36]], [[85.0, 10]], [[38.0, 30]]])
        labels = torch.tensor([[1], [1], [-1]])
        logits, score = segmenter.decode(embedded, points, labels)
        assert (logits[2] < 0).all() and score[2] == 0
        for p in range(3):
            alone, _ = segmenter.decode(embedded, points[p : p + 1], labels[p : p + 1])
            assert torch.equal(alone[0], logits[p])

    def test_click_on_the_frame_s_edge_and_flat_frame(self) -> None:
        flat = torch.full((3, 20, 30), 0.5)
        logits, score = self._ask(GraphCut(), flat, [[30.0, 20.0]], [1])
        assert np.isfinite(logits).all() and logits[-1, -1] > 0 and 0 <= score <= 1

    def test_no_prompts(self) -> None:
        segmenter = GraphCut()
        logits, score = segmenter.decode(segmenter.encode(_scene()[0]), torch.zeros(0, 1, 2), torch.zeros(0, 1))
        assert logits.shape == (0, 72, 96) and score.shape == (0,)

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"side": 4}, "side"), ({"smallest": 0.5, "largest": 0.2}, "smallest"), ({"rounds": 0}, "rounds")],
    )
    def test_bad_options(self, options: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            GraphCut(**options)

    def test_bad_shapes(self) -> None:
        segmenter = GraphCut()
        with pytest.raises(ShapeError, match="frame"):
            segmenter.encode(torch.zeros(1, 5, 5))
        embedded = segmenter.encode(_scene()[0])
        with pytest.raises(ShapeError, match="points"):
            segmenter.decode(embedded, torch.zeros(3, 2), torch.zeros(3, 1))
        with pytest.raises(ShapeError, match="labels"):
            segmenter.decode(embedded, torch.zeros(1, 2, 2), torch.zeros(1, 1))
        with pytest.raises(ShapeError, match="prior"):
            segmenter.decode(embedded, torch.zeros(1, 1, 2), torch.zeros(1, 1), prior=torch.zeros(1, 5, 5))
        with pytest.raises(ShapeError, match="boxes"):
            segmenter.decode(embedded, torch.zeros(1, 1, 2), torch.zeros(1, 1), boxes=torch.zeros(1, 3))

    def test_helpers(self) -> None:
        mask = _disc((30, 30), (15, 15), 8)
        distance = signed_distance(mask)
        assert ((distance > 0) == mask).all() and distance[15, 15] == pytest.approx(7.5, abs=1)
        assert (signed_distance(np.zeros((3, 4), bool)) == -5).all()
        assert _from_box(np.array([2.0, 3, 9, 8]), (10, 12)).free.sum() == 7 * 5
        constant = np.full((20, 20), 3.0, np.float32)
        guide = np.random.default_rng(0).random((20, 20)).astype(np.float32)
        assert guided_filter(constant, guide, 2) == pytest.approx(3)
        embedded = GraphCut().encode(_scene()[0])
        assert (_soften(np.zeros((72, 96), bool), embedded) < 0).all()
