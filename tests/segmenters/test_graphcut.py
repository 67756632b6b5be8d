"""The embedded segmenter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trackime import segmenters
from trackime.errors import InputError, ShapeError
from trackime.imaging import signed_distance
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

    def test_prior_shifted_by_some_pixels_is_corrected(self) -> None:
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
        # A repeated click adds no evidence.
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
        assert _from_box(np.array([2.0, 3, 9, 8]), (10, 12)).free.sum() == 7 * 5
        embedded = GraphCut().encode(_scene()[0])
        assert (_soften(np.zeros((72, 96), bool), embedded) < 0).all()
