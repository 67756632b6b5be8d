"""Networks of the authors' checkpoints against outputs recorded from their code, and against segment-anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

from tests.golden import filled, vectors
from trackime import segmenters
from trackime.errors import FormatError, InputError, MissingExtraError
from trackime.segmenters import sam
from trackime.segmenters._canvas import Canvas
from trackime.segmenters._tinyvit import TinyViT
from trackime.segmenters.pretrained import PretrainedSegmenter
from trackime.segmenters.prompted import Embedding, Prompts

RECORDED = vectors("mobile_sam")
STAGES = ("patch_embed", "layer0", "layer1", "layer2", "layer3")
KINDS = ("p1", "p3", "box", "boxp", "mask", "pbatch")

# A few times what the same upstream code moves between float32 and float64, and at least 1e-5 relative.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def shapes(name: str) -> dict[str, list[int]]:
    return json.loads(vectors(name)["state"].tobytes())


def frame() -> Tensor:
    """[3, 688, 1024] in [0, 1]."""
    small = RECORDED["in_image_small_u8"]
    return torch.from_numpy(small.repeat(8, 0).repeat(8, 1)).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(filled(sam._mobile_sam()), path)
    return path


@pytest.fixture(scope="module")
def segmenter(weights: Path) -> PretrainedSegmenter:
    made = segmenters.create(f"mobile-sam:{weights}")
    assert isinstance(made, PretrainedSegmenter)
    return made


@pytest.fixture(scope="module")
def stages(segmenter: PretrainedSegmenter) -> dict[str, Tensor]:
    """What each stage made of the recorded frame; the frame is encoded once for all tests."""
    seen: dict[str, Tensor] = {}
    encoder = segmenter.network.vision_encoder
    assert isinstance(encoder, TinyViT)
    modules = dict(zip(STAGES, [encoder.patch_embed, *encoder.layers], strict=True))
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        for name, module in modules.items()
    ]
    embedding = segmenter.encode(frame())
    for handle in handles:
        handle.remove()
    return seen | {"embedding": embedding.features[-1]}


@pytest.fixture(scope="module")
def embedding(stages: dict[str, Tensor]) -> Embedding:
    return Embedding(Canvas((688, 1024), 1024), [stages["embedding"]])


def close(got: Tensor, name: str) -> None:
    expected = RECORDED[name]
    assert tuple(got.shape) == expected.shape
    np.testing.assert_allclose(got.numpy(), expected, rtol=TOLERANCE, atol=TOLERANCE)


def prompts(kind: str) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """points, labels, boxes, masks in the recorded convention: whole numbers at centres."""
    xy, labels = torch.from_numpy(RECORDED["in_points_xy"]), torch.from_numpy(RECORDED["in_point_labels"])
    box = torch.from_numpy(RECORDED["in_box_xyxy"])[None]
    mask = torch.from_numpy(RECORDED["in_mask_small"].repeat(8, 0).repeat(8, 1))[None, None]
    count = {"p1": 1, "p3": 3, "box": 0, "boxp": 2, "mask": 1}.get(kind)
    if count is None:
        return xy[:, None], labels[:, None], None, None
    return (
        xy[None, :count],
        labels[None, :count],
        box if kind.startswith("box") else None,
        mask if kind == "mask" else None,
    )


class TestMobileSam:
    """Compared in the order of computation, so that the first failure is where it goes wrong."""

    def test_names_and_shapes(self) -> None:
        own = {key: list(tensor.shape) for key, tensor in sam._mobile_sam().state_dict().items()}
        assert own == shapes("mobile_sam")

    def test_input(self) -> None:
        image = Canvas((688, 1024), 1024).image(frame())
        assert image.shape == (1, 3, 1024, 1024)
        close(image[0, :, :4, :4], "preprocessed_slice")
        assert not image[:, :, 688:].any()

    @pytest.mark.parametrize("name", STAGES)
    def test_stage(self, stages: dict[str, Tensor], name: str) -> None:
        found = stages[name]
        if name == "patch_embed":
            close(found[0, :8, :4, :4], "patch_embed_slice")
            return
        close(found[0].flatten(1).T[:16, :8], f"{name}_slice")
        close(torch.stack([found.mean(), found.std(), found.abs().max()]), f"{name}_stats")

    def test_embedding(self, stages: dict[str, Tensor]) -> None:
        found = stages["embedding"]
        close(found[0, :8, :8, :8], "embedding_slice")
        close(found[0, -8:, -4:, -4:], "embedding_corner")
        close(torch.stack([found.mean(), found.std(), found.abs().max()]), "embedding_stats")

    def test_the_bias_table_is_that_of_the_weights(self, stages: dict[str, Tensor]) -> None:
        stale = RECORDED["stale_bias_embedding_slice"]
        assert np.abs(stages["embedding"][0, :8, :8, :8].numpy() - stale).max() > 0.01

    def test_positions(self, segmenter: PretrainedSegmenter) -> None:
        close(segmenter.network.get_image_wide_positional_embeddings()[0, ::32, :4, :4], "dense_pe_slice")

    @pytest.mark.parametrize("kind", KINDS)
    def test_prompts(self, segmenter: PretrainedSegmenter, kind: str) -> None:
        points, labels, box, mask = prompts(kind)
        clicks = (points[None], labels[None]) if points.shape[1] else (None, None)
        tokens, maps = segmenter.network.prompt_encoder(*clicks, None if box is None else box[None], mask)
        close(tokens[0, ..., :16], f"{kind}_sparse_first16")
        close(maps[0, :8, :3, :3], f"{kind}_dense_slice")

    @pytest.mark.parametrize("several", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    def test_masks(self, segmenter: PretrainedSegmenter, stages: dict[str, Tensor], kind: str, several: bool) -> None:
        masks, iou = segmenter._masks([stages["embedding"]], Prompts(*prompts(kind), several))
        what = f"{kind}_{'multi' if several else 'single'}"
        close(iou, f"{what}_iou")
        close(masks[:, :, ::8, ::8], f"{what}_lowres_sub8")
        if what == "p1_multi":  # to a frame of half the size
            fine = Canvas((344, 512), 1024).frame(masks)
            close(fine[..., ::16, ::16], "p1_multi_postprocessed_sub16")
            close((fine > 0).sum((2, 3)).float(), "p1_multi_area")

    def test_through_the_contract(self, segmenter: PretrainedSegmenter, embedding: Embedding) -> None:
        # Recorded points count from the first pixel's centre; ours from its corner.
        points, labels, _, _ = prompts("p1")
        logits, score = segmenter.decode(embedding, points + 0.5, labels)
        best = int(RECORDED["p1_multi_iou"][0].argmax())
        assert score[0] == pytest.approx(RECORDED["p1_multi_iou"][0, best], abs=TOLERANCE)
        masks, _ = segmenter._masks(embedding.features, Prompts(points, labels, None, None, several=True))
        torch.testing.assert_close(logits, embedding.canvas.frame(masks)[:, best], rtol=0, atol=1e-5)
        points, labels, box, _ = prompts("boxp")
        assert box is not None
        _, score = segmenter.decode(embedding, points + 0.5, labels, box + 0.5)
        assert score[0] == pytest.approx(RECORDED["boxp_single_iou"][0, 0], abs=TOLERANCE)
        points, labels, _, _ = prompts("p3")
        _, scores = segmenter.candidates(embedding, points + 0.5, labels)
        np.testing.assert_allclose(scores[0], RECORDED["p3_multi_iou"][0].clip(0, 1), atol=TOLERANCE)

    def test_a_checkpoint_that_does_not_fit(self, tmp_path: Path, weights: Path) -> None:
        state = torch.load(weights, weights_only=True)
        del state["mask_decoder.iou_token.weight"]
        torch.save(state, tmp_path / "cut.pt")
        with pytest.raises(FormatError, match=r"mobile-sam do not fit: 1 missing \(mask_decoder.iou_token.weight\)"):
            segmenters.create(f"mobile-sam:{tmp_path / 'cut.pt'}")
        with pytest.raises(InputError, match="no-such"):
            segmenters.create(f"mobile-sam:{tmp_path / 'no-such.pt'}")


# ---- the original ViT

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 64, "patch_size": 16,
    "window_size": 3, "global_attn_indexes": [1], "output_channels": 32, "mlp_dim": 128,
}  # fmt: skip


def vit(width: int, depth: int, heads: int, everywhere: list[int]) -> dict[str, Any]:
    return {
        "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads, "image_size": 1024,
        "patch_size": 16, "window_size": 14, "global_attn_indexes": everywhere, "output_channels": 256,
        "mlp_dim": 4 * width,
    }  # fmt: skip


def small_sam() -> Any:
    network = sam._sam(SMALL, hidden=48)
    network.load_state_dict(filled(network))
    return network.eval()


class TestOriginalSam:
    @pytest.mark.parametrize(
        ("size", "millions"),
        [
            (vit(768, 12, 12, [2, 5, 8, 11]), 93.735472),
            (vit(1024, 24, 16, [5, 11, 17, 23]), 312.342832),
            (vit(1280, 32, 16, [7, 15, 23, 31]), 641.090608),
        ],
        ids=["b", "l", "h"],
    )
    def test_names_and_shapes(self, size: dict[str, Any], millions: float) -> None:
        state = sam._with_original_names(sam._without_values(size)).state_dict()
        if size["hidden_size"] == 768:
            assert {key: list(tensor.shape) for key, tensor in state.items()} == shapes("sam_vit_b")
        matrix = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
        assert sum(t.numel() for key, t in state.items() if key != matrix) == pytest.approx(millions * 1e6, abs=1)
        assert sam._vision_config(state) == size

    @pytest.mark.parametrize("name", ["sam-vit-b", "sam-vit-l", "sam-vit-h"])
    def test_the_size_follows_from_the_checkpoint(self, tmp_path: Path, name: str) -> None:
        network = small_sam()
        torch.save(network.state_dict(), tmp_path / "small.pth")
        made = segmenters.create(f"{name}:{tmp_path / 'small.pth'}")
        assert isinstance(made, PretrainedSegmenter)
        assert (made.name, made.side, made.grid) == (name, 64, 4)
        assert made.network.mask_decoder.transformer.layers[0].layer_norm1.eps == 1e-5  # the authors'
        image = torch.rand(3, 40, 64, generator=torch.Generator().manual_seed(2))
        found, expected = (s.encode(image).features[-1] for s in (made, PretrainedSegmenter(network, name)))
        assert found.std() > 0.1 and torch.equal(found, expected)

    def test_another_network(self, tmp_path: Path, weights: Path) -> None:
        with pytest.raises(FormatError, match="sam-vit-b do not fit"):
            segmenters.create(f"sam-vit-b:{weights}")
        state = small_sam().state_dict()
        state["image_encoder.neck.0.weight"] = torch.zeros(32, 31, 1, 1)
        torch.save(state, tmp_path / "odd.pth")
        with pytest.raises(FormatError, match=r"1 of another shape \(image_encoder.neck.0.weight"):
            segmenters.create(f"sam-vit-b:{tmp_path / 'odd.pth'}")

    def test_names_that_are_not_expected(self, tmp_path: Path) -> None:
        torch.save(small_sam().state_dict() | {"image_encoder.x": torch.zeros(1)}, tmp_path / "more.pth")
        with pytest.raises(FormatError, match=r"sam-vit-b do not fit: 1 not expected \(image_encoder.x\)"):
            segmenters.create(f"sam-vit-b:{tmp_path / 'more.pth'}")

    @pytest.mark.parametrize("name", ["sam-vit-b", "mobile-sam"])
    def test_missing_extra(self, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'trackime\[models\]'"):
            segmenters.create(f"{name}:{tmp_path}")
