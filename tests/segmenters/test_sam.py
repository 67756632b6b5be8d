"""SAM's networks against outputs recorded from the authors' code, and against transformers' SAM with equal weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden import filled, vectors
from trackime import segmenters
from trackime.errors import FormatError, InputError
from trackime.segmenters._canvas import Canvas
from trackime.segmenters.networks import Sam, SamVit, TinyViT, VitSize
from trackime.segmenters.networks.sam_vit import _VIT_B, _VIT_H, _VIT_L
from trackime.segmenters.prompted import Embedding
from trackime.segmenters.sam import SamSegmenter

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
    torch.save(filled(Sam(TinyViT())), path)
    return path


@pytest.fixture(scope="module")
def segmenter(weights: Path) -> SamSegmenter:
    made = segmenters.create(f"mobile-sam:{weights}")
    assert isinstance(made, SamSegmenter)
    return made


@pytest.fixture(scope="module")
def stages(segmenter: SamSegmenter) -> dict[str, Tensor]:
    """What each stage made of the recorded frame; the frame is encoded once for all tests."""
    seen: dict[str, Tensor] = {}
    encoder = segmenter.network.image_encoder
    assert isinstance(encoder, TinyViT)
    modules = dict(zip(STAGES, [encoder.patch_embed, *encoder.layers], strict=True))
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        for name, module in modules.items()
    ]
    embedding = segmenter.encode(frame())
    for handle in handles:
        handle.remove()
    return seen | {"embedding": embedding.features}


@pytest.fixture(scope="module")
def embedding(stages: dict[str, Tensor]) -> Embedding:
    return Embedding(Canvas((688, 1024), 1024), stages["embedding"])


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
        own = {key: list(tensor.shape) for key, tensor in Sam(TinyViT()).state_dict().items()}
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

    def test_positions(self, segmenter: SamSegmenter) -> None:
        close(segmenter.network.prompt_encoder.pe_layer.grid(64)[0, ::32, :4, :4], "dense_pe_slice")

    @pytest.mark.parametrize("kind", KINDS)
    def test_prompts(self, segmenter: SamSegmenter, kind: str) -> None:
        tokens, maps = segmenter.network.prompt_encoder(*prompts(kind))
        close(tokens[..., :16], f"{kind}_sparse_first16")
        close(maps[0, :8, :3, :3], f"{kind}_dense_slice")

    @pytest.mark.parametrize("several", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    def test_masks(self, segmenter: SamSegmenter, stages: dict[str, Tensor], kind: str, several: bool) -> None:
        masks, iou = segmenter.network.decode(stages["embedding"], *prompts(kind), several)
        what = f"{kind}_{'multi' if several else 'single'}"
        close(iou, f"{what}_iou")
        close(masks[:, :, ::8, ::8], f"{what}_lowres_sub8")
        if what == "p1_multi":  # to a frame of half the size
            fine = Canvas((344, 512), 1024).frame(masks)
            close(fine[..., ::16, ::16], "p1_multi_postprocessed_sub16")
            close((fine > 0).sum((2, 3)).float(), "p1_multi_area")

    def test_through_the_contract(self, segmenter: SamSegmenter, embedding: Embedding) -> None:
        # Recorded points count from the first pixel's centre; ours from its corner.
        points, labels, _, _ = prompts("p1")
        logits, score = segmenter.decode(embedding, points + 0.5, labels)
        best = int(RECORDED["p1_multi_iou"][0].argmax())
        assert score[0] == pytest.approx(RECORDED["p1_multi_iou"][0, best], abs=TOLERANCE)
        masks, _ = segmenter.network.decode(embedding.features, points, labels, None, None, several=True)
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

SMALL = VitSize(32, 3, 2, 3, (1,), grid=4, out=32)


def small_sam() -> Sam:
    network = Sam(SamVit(SMALL), 32, 4, 64, hidden=48)
    network.load_state_dict(filled(network))
    return network.eval()


def original_name(name: str) -> str:
    """The original checkpoint's name of a weight of transformers' SamModel."""
    for theirs, ours in (
        ("prompt_encoder.shared_embedding", "shared_image_embedding"),
        ("shared_image_embedding.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
        ("vision_encoder.patch_embed.projection", "image_encoder.patch_embed.proj"),
        ("vision_encoder.neck.conv1", "image_encoder.neck.0"),
        ("vision_encoder.neck.layer_norm1", "image_encoder.neck.1"),
        ("vision_encoder.neck.conv2", "image_encoder.neck.2"),
        ("vision_encoder.neck.layer_norm2", "image_encoder.neck.3"),
        ("vision_encoder.layers.", "image_encoder.blocks."),
        ("vision_encoder.", "image_encoder."),
        ("prompt_encoder.point_embed.", "prompt_encoder.point_embeddings."),
        ("mask_embed.conv1", "mask_downscaling.0"),
        ("mask_embed.layer_norm1", "mask_downscaling.1"),
        ("mask_embed.conv2", "mask_downscaling.3"),
        ("mask_embed.layer_norm2", "mask_downscaling.4"),
        ("mask_embed.conv3", "mask_downscaling.6"),
        ("mask_decoder.upscale_conv1", "mask_decoder.output_upscaling.0"),
        ("mask_decoder.upscale_layer_norm", "mask_decoder.output_upscaling.1"),
        ("mask_decoder.upscale_conv2", "mask_decoder.output_upscaling.3"),
        ("layer_norm", "norm"),
    ):  # fmt: skip
        name = name.replace(theirs, ours)
    if "mlps." in name or "iou_prediction_head" in name:
        name = name.replace("layers.0", "layers.1").replace("proj_in", "layers.0").replace("proj_out", "layers.2")
    return name


class TestOriginalSam:
    @pytest.mark.parametrize(
        ("size", "millions"), [(_VIT_B, 93.735472), (_VIT_L, 312.342832), (_VIT_H, 641.090608)], ids=["b", "l", "h"]
    )
    def test_names_and_shapes(self, size: VitSize, millions: float) -> None:
        with torch.device("meta"):
            state = Sam(SamVit(size)).state_dict()
        if size is _VIT_B:
            assert {key: list(tensor.shape) for key, tensor in state.items()} == shapes("sam_vit_b")
        matrix = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
        assert sum(t.numel() for key, t in state.items() if key != matrix) == pytest.approx(millions * 1e6, abs=1)
        assert VitSize.of(state) == size

    def test_equals_transformers(self) -> None:
        transformers = pytest.importorskip("transformers")
        config = transformers.SamConfig(
            vision_config={
                "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 64,
                "window_size": 3, "global_attn_indexes": [1], "output_channels": 32, "mlp_dim": 128,
                "num_pos_feats": 16,
            },
            prompt_encoder_config={"hidden_size": 32, "image_size": 64, "image_embedding_size": 4},
            # The authors' decoder normalises with torch's default; transformers' own default differs.
            mask_decoder_config={"hidden_size": 32, "mlp_dim": 48, "iou_head_hidden_dim": 32, "layer_norm_eps": 1e-5},
        )  # fmt: skip
        theirs, ours = transformers.SamModel(config).eval(), small_sam()
        state = ours.state_dict()
        names = {name: original_name(name) for name in theirs.state_dict()}
        assert set(names.values()) == set(state)
        theirs.load_state_dict({name: state[own] for name, own in names.items()})
        rng = torch.Generator().manual_seed(0)
        image = torch.randn(1, 3, 64, 64, generator=rng)
        embedding = ours.image_encoder(image)
        torch.testing.assert_close(embedding, theirs.get_image_embeddings(image), rtol=1e-4, atol=1e-5)
        points = torch.rand(1, 2, 2, generator=rng) * 64
        labels, boxes = torch.tensor([[1, 0]]), torch.tensor([[4.0, 8.0, 40.0, 50.0]])
        masks = torch.randn(1, 1, 16, 16, generator=rng)
        for box, mask, several in ((None, None, True), (boxes, None, False), (None, masks, True)):
            found, iou = ours.decode(embedding, points, labels, box, mask, several)
            told = theirs(
                image_embeddings=embedding,
                input_points=points[:, None],
                input_labels=labels[:, None],
                input_boxes=None if box is None else box[:, None],
                input_masks=mask,
                multimask_output=several,
            )
            torch.testing.assert_close(found, told.pred_masks[:, 0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(iou, told.iou_scores[:, 0], rtol=1e-4, atol=1e-5)

    def test_memory_bound_of_attention_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network, image = small_sam(), torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        whole = network.image_encoder(image)
        monkeypatch.setattr("trackime.segmenters.networks.sam_vit.BIAS_ENTRIES", 1)
        torch.testing.assert_close(network.image_encoder(image), whole, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", ["sam-vit-b", "sam-vit-l", "sam-vit-h"])
    def test_the_size_is_told_from_the_checkpoint(self, tmp_path: Path, name: str) -> None:
        network = small_sam()
        torch.save(network.state_dict(), tmp_path / "small.pth")
        made = segmenters.create(f"{name}:{tmp_path / 'small.pth'}")
        assert isinstance(made, SamSegmenter)
        assert (made.name, made.side, made.grid) == (name, 64, 4)
        image = torch.rand(3, 40, 64, generator=torch.Generator().manual_seed(2))
        assert torch.equal(made.encode(image).features, SamSegmenter(network).encode(image).features)

    def test_another_network(self, tmp_path: Path, weights: Path) -> None:
        with pytest.raises(FormatError, match="sam-vit-b do not fit"):
            segmenters.create(f"sam-vit-b:{weights}")
        state = small_sam().state_dict()
        state["image_encoder.neck.0.weight"] = torch.zeros(32, 31, 1, 1)
        torch.save(state, tmp_path / "odd.pth")
        with pytest.raises(FormatError, match=r"1 of another shape \(image_encoder.neck.0.weight"):
            segmenters.create(f"sam-vit-b:{tmp_path / 'odd.pth'}")
