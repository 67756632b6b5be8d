"""The region tree and its superpixels."""

from __future__ import annotations

import numpy as np

from trackime.imaging import build_tree, to_lab
from trackime.imaging.regions import _code_book, _superpixels


def _disc() -> np.ndarray:
    y, x = np.mgrid[0:72, 0:96] + 0.5
    return np.asarray((x - 38.4) ** 2 + (y - 36) ** 2 < 18**2)


def _frame(mask: np.ndarray) -> np.ndarray:
    """A textured red disc on textured green, float32 [H, W, 3]."""
    colours = np.where(mask[..., None], [0.8, 0.25, 0.2], [0.2, 0.5, 0.25])
    noise = np.random.default_rng(0).normal(0, 0.03, (*mask.shape, 3))
    return np.clip(colours + noise, 0, 1).astype(np.float32)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


class TestRegions:
    def test_tree_is_whole(self) -> None:
        mask = _disc()
        tree = build_tree(to_lab(_frame(mask)))
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

    def test_words_of_a_code_book_are_near(self) -> None:
        lab = to_lab(np.random.default_rng(1).random((40, 50, 3)).astype(np.float32))
        words = _code_book(lab)
        flat, label = lab.reshape(-1, 3) * np.array([0.6, 1, 1], np.float32), words.ravel()
        means = {k: flat[label == k].mean(0) for k in np.unique(label)}
        left = np.mean([((flat[label == k] - means[k]) ** 2).sum(1).mean() for k in means])
        assert len(means) > 40 and left < 0.1 * flat.var(0).sum()

    def test_code_book_of_one_colour(self) -> None:
        assert (_code_book(np.zeros((5, 6, 3), np.float32)) == 0).all()
