"""segment-anything's predictor as a segmenter: a stand-in with its interface, and the package itself as an oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trackime import segmenters
from trackime.errors import InputError, ShapeError
from trackime.segmenters import SamPredictorSegmenter


class Predictor:
    """`SamPredictor`'s interface: paints a disc around the first point, or fills the box, or repeats the mask."""

    def __init__(self, side: int = 1024) -> None:
        self.side = side
        self.seen: list[np.ndarray] = []
        self.calls: list[dict[str, Any]] = []

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        assert image.dtype == np.uint8 and image.shape[2] == 3 and image_format == "RGB"
        self.seen.append(image)

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.calls.append({"points": point_coords, "labels": point_labels, "box": box, "mask": mask_input})
        h, w = self.seen[-1].shape[:2]
        scale = np.array([round(w * self.side / max(h, w)) / w, round(h * self.side / max(h, w)) / h])
        centre = (np.arange(256) + 0.5) * self.side / 256  # of the mask's pixels, from the canvas's corner
        if mask_input is not None:
            assert mask_input.shape == (1, 256, 256)
            low = mask_input[0]
        elif box is not None:
            x0, y0, x1, y1 = box * np.tile(scale, 2) + 0.5
            x, y = centre, centre[:, None]
            low = np.minimum(np.minimum(x - x0, x1 - x), np.minimum(y - y0, y1 - y))
        else:
            assert point_coords is not None and point_labels is not None
            x, y = point_coords[0] * scale + 0.5
            low = 100 - np.hypot(centre - x, centre[:, None] - y)
        count = 3 if multimask_output else 1
        assert return_logits
        return (
            np.zeros((count, h, w), np.float32),
            np.linspace(0.3, 0.9, count, dtype=np.float32),
            np.stack([low - 10 * (count - 1 - i) for i in range(count)]).astype(np.float32),
        )


def frame(height: int = 120, width: int = 200, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(120, 200), (200, 120), (31, 17), (1024, 1024)])
def test_a_disc_is_where_the_point_is(size: tuple[int, int]) -> None:
    predictor = Predictor()
    segmenter = SamPredictorSegmenter(predictor)
    points = torch.tensor([[[0.4 * size[1], 0.5 * size[0]]], [[0.6 * size[1], 0.45 * size[0]]]])
    logits, score = segmenter.decode(segmenter.encode(frame(*size)), points, torch.ones(2, 1))
    assert logits.shape == (2, *size)
    torch.testing.assert_close(score, torch.full((2,), 0.9))
    weight = logits.clamp(min=0)
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    total = weight.sum((1, 2))
    found = torch.stack([(weight * x).sum((1, 2)) / total, (weight * y).sum((1, 2)) / total], -1)
    assert (found - points[:, 0]).abs().max() < max(2 * max(size) / 1024, 0.1)


def test_boxes_priors_and_padding() -> None:
    predictor = Predictor()
    segmenter = SamPredictorSegmenter(predictor)
    embedding = segmenter.encode(frame())
    logits, _ = segmenter.decode(
        embedding, torch.zeros(1, 0, 2), torch.zeros(1, 0), torch.tensor([[40.0, 24.0, 160.0, 90.0]])
    )
    rows, columns = (logits[0] > 0).any(1).nonzero()[:, 0], (logits[0] > 0).any(0).nonzero()[:, 0]
    assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == (24, 90, 40, 160)
    assert predictor.calls[-1]["points"] is None
    prior = torch.full((1, 120, 200), -6.0)
    prior[:, 30:70, 100:180] = 6
    logits, _ = segmenter.decode(embedding, torch.zeros(1, 0, 2), torch.zeros(1, 0), prior=prior)
    assert ((logits > 0) == (prior > 0)).float().mean() > 0.98
    segmenter.decode(embedding, torch.full((1, 3, 2), 20.0), torch.tensor([[1, -1, 0]]))
    assert predictor.calls[-1]["labels"].tolist() == [1, 0]
    logits, score = segmenter.decode(embedding, torch.zeros(0, 1, 2), torch.zeros(0, 1))
    assert logits.shape == (0, 120, 200) and score.shape == (0,)


def test_another_frame_is_encoded_again_only_where_it_must() -> None:
    predictor = Predictor()
    segmenter = SamPredictorSegmenter(predictor)
    first, second = segmenter.encode(frame(seed=0)), segmenter.encode(frame(seed=1))
    points, labels = torch.full((1, 1, 2), 20.0), torch.ones(1, 1)
    for embedding, encoded in ((second, 2), (first, 3), (first, 3), (second, 4)):
        segmenter.decode(embedding, points, labels)
        assert len(predictor.seen) == encoded
    assert np.array_equal(predictor.seen[0], predictor.seen[2])
    assert np.array_equal(predictor.seen[0], (frame(seed=0) * 255).round().byte().permute(1, 2, 0).numpy())


def test_bad_input() -> None:
    with pytest.raises(InputError, match="expected SamPredictor's set_image and predict, found no set_image"):
        SamPredictorSegmenter(object())
    with pytest.raises(ShapeError, match="frame"):
        SamPredictorSegmenter(Predictor()).encode(torch.zeros(1, 5, 5))


def test_equals_segment_anything(tmp_path: Path) -> None:
    """Both from one checkpoint, whose weights follow from their names: no pretrained ones are needed."""
    pytest.importorskip("transformers")
    oracle = pytest.importorskip("segment_anything", exc_type=ImportError)
    from tests.golden import filled

    model = oracle.build_sam_vit_b()
    model.load_state_dict(filled(model))
    torch.save(model.state_dict(), tmp_path / "sam_vit_b.pth")
    theirs = SamPredictorSegmenter(oracle.SamPredictor(model.eval()))
    ours = segmenters.create(f"sam-vit-b:{tmp_path / 'sam_vit_b.pth'}")
    image = (frame(688, 1024) * 255).round() / 255
    points = torch.tensor([[[300.0, 200.0], [900.5, 600.5]]])
    box = torch.tensor([[100.0, 80.0, 700.0, 500.0]])
    first, second = ours.encode(image), theirs.encode(image)
    for labels, boxes in ((torch.tensor([[1, -1]]), None), (torch.tensor([[1, 0]]), None), (torch.ones(1, 2), box)):
        for found, expected in zip(
            ours.decode(first, points, labels, boxes), theirs.decode(second, points, labels, boxes), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
