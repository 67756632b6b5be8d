"""What all segmenters of the SAM family share: geometry, prompts, the choice of a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.golden import filled
from trackime.errors import InputError, ShapeError
from trackime.segmenters import PromptedSegmenter
from trackime.segmenters._canvas import CLIP, OUTSIDE, Canvas
from trackime.segmenters.prompted import Prompts

SIZES = [(688, 1024), (1024, 688), (480, 640), (37, 91), (90, 3), (1, 1), (1500, 2000)]


@pytest.fixture(scope="module")
def small() -> PromptedSegmenter:
    pytest.importorskip("transformers")
    from trackime.segmenters import sam
    from trackime.segmenters.pretrained import PretrainedSegmenter

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "window_size": 3}
    network = sam._sam(size | {"global_attn_indexes": [1], "output_channels": 32}, hidden=48)
    network.load_state_dict(filled(network))
    return PretrainedSegmenter(network, "sam", prompt_chunk=3)


def picture(height: int = 48, width: int = 80, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


class Blob(PromptedSegmenter):
    """Paints a blob at the first point, or the inside of the box, or the mask prompt."""

    name, side, grid = "blob", 256, 16

    def __init__(self, stretched: bool) -> None:
        super().__init__()
        self.stretched = stretched
        self.calls: list[Prompts] = []

    def _features(self, image: Tensor) -> Tensor:
        return image

    def _masks(self, features: Any, prompts: Prompts) -> tuple[Tensor, Tensor]:
        self.calls.append(prompts)
        many = 3 if prompts.several else 1
        centre = (torch.arange(64) + 0.5) * 4
        if prompts.masks is not None:
            low = prompts.masks[:, 0]
        elif prompts.boxes is not None:
            x0, y0, x1, y1 = (prompts.boxes + 0.5).T[..., None, None]
            x, y = centre, centre[:, None]
            low = torch.minimum(torch.minimum(x - x0, x1 - x), torch.minimum(y - y0, y1 - y))
        else:
            x, y = (prompts.points[:, 0] + 0.5).T[..., None, None]  # the networks add their half pixel
            low = 12 - torch.hypot(centre - x, centre[:, None] - y)
        # The second of several is the good one, and the others are empty.
        masks = torch.full((len(low), many, 64, 64), -1.0)
        masks[:, many // 2] = low
        iou = torch.full((len(low), many), 0.25)
        iou[:, many // 2] = 1.25
        return masks, iou


class TestCanvas:
    @pytest.mark.parametrize("size", SIZES)
    def test_the_longer_side_fills_the_square(self, size: tuple[int, int]) -> None:
        canvas = Canvas(size, 1024)
        # The arithmetic of SAM's ResizeLongestSide.
        scale = 1024 / max(size)
        assert canvas.inner == (max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5)))
        assert max(canvas.inner) == 1024
        assert Canvas(size, 1024, stretched=True).inner == (1024, 1024)

    def test_points_where_nothing_is_resized(self) -> None:
        # Upstream: coordinates * (new / old); then the prompt encoder adds 0.5 and divides by the side.
        points = torch.tensor([[100.0, 50.0]])
        theirs = points * torch.tensor([1024 / 1024, 688 / 688])
        assert torch.equal(Canvas((688, 1024), 1024).points(points + 0.5), theirs)

    @pytest.mark.parametrize("stretched", [False, True])
    @pytest.mark.parametrize("size", SIZES)
    def test_points_land_on_their_pixel(self, size: tuple[int, int], stretched: bool) -> None:
        canvas = Canvas(size, 128, stretched)
        h, w = canvas.inner
        # Upstream scales the index of a pixel, k * w / W, and adds 0.5; the pixel's centre is at (k + 0.5) * w / W.
        index = torch.tensor([[size[1] - 1.0, size[0] - 1.0], [0.0, 0.0]])
        ratio = torch.tensor([w / size[1], h / size[0]])
        upstream = index * ratio + 0.5
        ours = canvas.points(index + 0.5) + 0.5
        torch.testing.assert_close(ours, (index + 0.5) * ratio)
        torch.testing.assert_close(ours - upstream, (ratio / 2 - 0.5).expand(2, 2), rtol=1e-4, atol=1e-4)
        corners = canvas.points(torch.tensor([[0.0, 0.0], [float(size[1]), float(size[0])]])) + 0.5
        torch.testing.assert_close(corners, torch.tensor([[0.0, 0.0], [float(w), float(h)]]))
        box = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
        assert torch.equal(canvas.boxes(box), canvas.points(box.reshape(2, 2)).reshape(1, 4))

    def test_image_is_normalised_and_padded(self) -> None:
        image = Canvas((30, 40), 64).image(torch.full((3, 30, 40), 0.5))
        assert image.shape == (1, 3, 64, 64)
        expected = (torch.tensor([127.5] * 3) - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor(
            [58.395, 57.12, 57.375]
        )
        torch.testing.assert_close(image[0, :, 47, 63], expected)
        assert not image[:, :, 48:].any()

    @pytest.mark.parametrize("stretched", [False, True])
    def test_masks_there_and_back(self, stretched: bool) -> None:
        canvas = Canvas((60, 100), 128, stretched)
        y, x = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(100) + 0.5, indexing="ij")
        prior = (20 - torch.hypot(x - 60, y - 25))[None] / 4
        low = canvas.mask(prior, 32)
        assert low.shape == (1, 1, 32, 32)
        back = canvas.frame(low)[0, 0]
        inside = (slice(4, -4), slice(4, -4))
        assert (back - prior[0])[inside].abs().max() < 0.5
        assert (torch.sign(back) == torch.sign(prior[0]))[inside].float().mean() > 0.97
        if not stretched:
            assert torch.equal(low[0, 0, 20:], torch.full((12, 32), OUTSIDE))
            assert bool((low[0, 0, :20] != OUTSIDE).all())

    def test_priors_are_clipped(self) -> None:
        low = Canvas((64, 64), 64).mask(torch.tensor([1e6, -1e6])[:, None, None].expand(2, 64, 64), 16)
        assert torch.allclose(low[0], torch.tensor(CLIP)) and torch.allclose(low[1], torch.tensor(-CLIP))


class TestGeometryEndToEnd:
    @pytest.mark.parametrize("stretched", [False, True])
    @pytest.mark.parametrize("size", [(120, 200), (200, 120), (31, 17), (300, 500)])
    def test_a_blob_is_where_the_point_is(self, size: tuple[int, int], stretched: bool) -> None:
        blob = Blob(stretched)
        embedding = blob.encode(picture(*size))
        assert embedding.features.shape == (1, 3, 256, 256)
        points = torch.tensor([[[0.3 * size[1], 0.6 * size[0]]], [[0.7 * size[1], 0.25 * size[0]]]])
        logits, score = blob.decode(embedding, points, torch.ones(2, 1))
        assert logits.shape == (2, *size) and torch.equal(score, torch.ones(2))
        weight = logits.clamp(min=0)
        y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
        total = weight.sum((1, 2))
        found = torch.stack([(weight * x).sum((1, 2)) / total, (weight * y).sum((1, 2)) / total], -1)
        # Within a tenth of a pixel of the canvas's mask, four of the canvas's wide; a blob of a pixel is coarser.
        assert (found - points[:, 0]).abs().max() < max(0.4 * max(size) / 256, 0.2)

    @pytest.mark.parametrize("stretched", [False, True])
    def test_a_box_is_where_it_is(self, stretched: bool) -> None:
        blob, size = Blob(stretched), (120, 200)
        box = torch.tensor([[40.0, 24.0, 160.0, 90.0]])
        logits, _ = blob.decode(blob.encode(picture(*size)), torch.zeros(1, 0, 2), torch.zeros(1, 0), box)
        rows, columns = (logits[0] > 0).any(1).nonzero()[:, 0], (logits[0] > 0).any(0).nonzero()[:, 0]
        found = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert (found - box[0]).abs().max() <= 1

    def test_a_prior_keeps_its_sign_and_place(self) -> None:
        blob, size = Blob(False), (120, 200)
        prior = torch.full((1, *size), -6.0)
        prior[:, 30:70, 100:180] = 6
        logits, _ = blob.decode(blob.encode(picture(*size)), torch.zeros(1, 0, 2), torch.zeros(1, 0), prior=prior)
        assert ((logits > 0) == (prior > 0)).float().mean() > 0.98


class TestChoice:
    def ambiguous(self, *arguments: Any, **named: Any) -> list[bool]:
        blob = Blob(False)
        blob.decode(blob.encode(picture()), *arguments, **named)
        return [p.several for p in blob.calls]

    def test_only_a_single_point_is_ambiguous(self) -> None:
        one, two = torch.full((1, 1, 2), 20.0), torch.full((1, 2, 2), 20.0)
        box, prior = torch.tensor([[2.0, 2.0, 30.0, 30.0]]), torch.ones(1, 48, 80)
        assert self.ambiguous(one, torch.ones(1, 1)) == [True]
        assert self.ambiguous(two, torch.tensor([[1, -1]])) == [True]
        assert self.ambiguous(two, torch.tensor([[1, 0]])) == [False]
        assert self.ambiguous(one, torch.ones(1, 1), box) == [False]
        assert self.ambiguous(one, torch.ones(1, 1), None, prior) == [False]
        assert self.ambiguous(one, torch.ones(1, 1), None, 0 * prior) == [True]

    def test_the_best_by_predicted_iou(self) -> None:
        blob = Blob(False)
        embedding = blob.encode(picture())
        points, labels = torch.full((1, 1, 2), 20.0), torch.ones(1, 1)
        logits, score = blob.decode(embedding, points, labels)
        every, scores = blob.candidates(embedding, points, labels)
        assert every.shape == (1, 3, 48, 80)
        assert torch.equal(scores, torch.tensor([[0.25, 1.0, 0.25]]))
        torch.testing.assert_close(logits, every[:, 1])
        assert score.tolist() == [1.0]

    def test_nothing_pointed_at(self, small: PromptedSegmenter) -> None:
        embedding = small.encode(picture())
        points = torch.full((3, 2, 2), 20.0)
        labels = torch.tensor([[-1, -1], [0, -1], [1, 0]])
        logits, score = small.decode(embedding, points, labels)
        assert bool((logits[:2] < 0).all()) and score[:2].tolist() == [0, 0]
        assert logits[2].std() > 0
        every, scores = small.candidates(embedding, points, labels)
        assert every.shape == (3, 3, 48, 80) and not scores[:2].any()


class TestPrompts:
    def test_none_at_all(self, small: PromptedSegmenter) -> None:
        logits, score = small.decode(small.encode(picture()), torch.zeros(0, 1, 2), torch.zeros(0, 1))
        assert logits.shape == (0, 48, 80) and score.shape == (0,)

    def test_padding_changes_nothing(self, small: PromptedSegmenter) -> None:
        embedding = small.encode(picture())
        rng = torch.Generator().manual_seed(3)
        points = torch.rand(7, 4, 2, generator=rng) * torch.tensor([80.0, 48.0])
        labels = torch.tensor(
            [[1, 0, 1, 1], [1, -1, -1, -1], [-1, -1, 1, -1], [1, 1, -1, 0], [-1, 1, 0, -1], [1, 1, 1, 1], [-1, 0, 1, 1]]
        )
        points[labels < 0] = float("nan")
        logits, score = small.decode(embedding, points, labels)
        for p in range(len(points)):
            keep = labels[p] >= 0
            alone, sure = small.decode(embedding, points[p : p + 1, keep], labels[p : p + 1, keep])
            torch.testing.assert_close(logits[p], alone[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(score[p], sure[0], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("kind", ["points", "boxes", "prior", "all"])
    def test_a_batch_is_one_by_one(self, small: PromptedSegmenter, kind: str) -> None:
        embedding = small.encode(picture())
        rng = torch.Generator().manual_seed(4)
        count = 5
        points = torch.rand(count, 2, 2, generator=rng) * torch.tensor([80.0, 48.0])
        labels = torch.ones(count, 2, dtype=torch.int64)
        corners = (torch.rand(count, 2, 2, generator=rng) * torch.tensor([80.0, 48.0])).sort(1).values
        boxes = corners.flatten(1) if kind in ("boxes", "all") else None
        prior = torch.randn(count, 48, 80, generator=rng) * 4 if kind in ("prior", "all") else None
        if prior is not None:
            prior[2] = 0  # no opinion: as if there was none
        if kind in ("boxes", "prior"):
            points, labels = points[:, :0], labels[:, :0]
        logits, score = small.decode(embedding, points, labels, boxes, prior)
        order = torch.tensor([3, 0, 4, 2, 1])
        again, _ = small.decode(
            embedding,
            points[order],
            labels[order],
            None if boxes is None else boxes[order],
            None if prior is None else prior[order],
        )
        torch.testing.assert_close(again, logits[order], rtol=1e-4, atol=1e-5)
        for p in range(count):
            own = None if prior is None or p == 2 else prior[p : p + 1]
            box = None if boxes is None else boxes[p : p + 1]
            alone, sure = small.decode(embedding, points[p : p + 1], labels[p : p + 1], box, own)
            torch.testing.assert_close(logits[p], alone[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(score[p], sure[0], rtol=1e-4, atol=1e-5)

    def test_memory_is_bounded_by_the_chunk(self) -> None:
        blob = Blob(False)
        blob.prompt_chunk = 4
        blob.decode(blob.encode(picture()), torch.full((10, 1, 2), 20.0), torch.ones(10, 1))
        assert [len(p.points) for p in blob.calls] == [4, 4, 2]

    def test_a_frame_is_encoded_once(self, small: PromptedSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        whole = small._features
        monkeypatch.setattr(small, "_features", lambda x: calls.append(1) or whole(x))
        embedding = small.encode(picture())
        for _ in range(3):
            small.decode(embedding, torch.full((4, 1, 2), 20.0), torch.ones(4, 1))
        assert len(calls) == 1

    @pytest.mark.parametrize("size", [(1, 1), (3, 90), (64, 64), (200, 50)])
    def test_any_size(self, small: PromptedSegmenter, size: tuple[int, int]) -> None:
        points = torch.tensor([[[size[1] / 2, size[0] / 2]]])
        logits, score = small.decode(small.encode(picture(*size)), points, torch.ones(1, 1))
        assert logits.shape == (1, *size) and bool(torch.isfinite(logits).all())
        assert 0 <= float(score[0]) <= 1

    def test_gradients_are_not_kept(self, small: PromptedSegmenter) -> None:
        logits, score = small.decode(small.encode(picture()), torch.full((1, 1, 2), 20.0), torch.ones(1, 1))
        assert not logits.requires_grad and not score.requires_grad


class TestBadInput:
    @pytest.mark.parametrize("shape", [(48, 80, 3), (1, 3, 48, 80), (3, 0, 80)])
    def test_frame(self, small: PromptedSegmenter, shape: tuple[int, ...]) -> None:
        with pytest.raises(ShapeError, match="frame"):
            small.encode(torch.zeros(shape))

    @pytest.mark.parametrize(
        ("what", "arguments"),
        [
            ("points", (torch.zeros(2, 2), torch.ones(2, 1))),
            ("labels", (torch.zeros(2, 1, 2), torch.ones(2))),
            ("boxes", (torch.zeros(2, 1, 2), torch.ones(2, 1), torch.zeros(4))),
            ("prior", (torch.zeros(2, 1, 2), torch.ones(2, 1), None, torch.zeros(2, 256, 256))),
        ],
    )
    def test_shapes(self, small: PromptedSegmenter, what: str, arguments: tuple[Tensor, ...]) -> None:
        embedding = small.encode(picture())
        for ask in (small.decode, small.candidates):
            with pytest.raises(ShapeError, match=what):
                ask(embedding, *arguments)

    def test_values(self, small: PromptedSegmenter) -> None:
        embedding, points = small.encode(picture()), torch.zeros(1, 1, 2)
        with pytest.raises(InputError, match="labels: expected 1 on the object"):
            small.decode(embedding, points, torch.full((1, 1), 2))
        with pytest.raises(InputError, match="points: expected finite"):
            small.decode(embedding, points + np.nan, torch.ones(1, 1))
        with pytest.raises(InputError, match="boxes: expected finite"):
            small.decode(embedding, points, torch.ones(1, 1), torch.full((1, 4), torch.inf))
        with pytest.raises(InputError, match="prior: expected finite"):
            small.decode(embedding, points, torch.ones(1, 1), None, torch.full((1, 48, 80), torch.nan))

    def test_options(self) -> None:
        class Other(Blob):
            def __init__(self) -> None:
                PromptedSegmenter.__init__(self, prompt_chunk=0)

        with pytest.raises(InputError, match="prompt_chunk"):
            Other()


def test_two_steps_to_the_frame() -> None:
    # As published for SAM: enlarge to the square, cut the frame out, resize that.
    canvas, low = Canvas((60, 100), 128), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    square = F.interpolate(low, (128, 128), mode="bilinear", align_corners=False)[:, :, :77, :128]
    expected = F.interpolate(square, (60, 100), mode="bilinear", align_corners=False)
    assert torch.equal(canvas.frame(low), expected)
