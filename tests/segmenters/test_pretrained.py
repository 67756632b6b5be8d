"""Segmenters through transformers, on networks of random weights small enough to be saved by the tests."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

transformers = pytest.importorskip("transformers")

from tests.segmenters.small_networks import build, timm_stand_in  # noqa: E402
from trackime import segmenters  # noqa: E402
from trackime.errors import FormatError, InputError, MissingExtraError  # noqa: E402
from trackime.segmenters._canvas import Canvas  # noqa: E402
from trackime.segmenters.pretrained import _FAMILIES, PretrainedSegmenter  # noqa: E402

MODELS = ("sam", "sam-hq", "sam2.1-tiny", "edgetam")


@pytest.fixture(scope="module")
def without_timm() -> Iterator[None]:
    with timm_stand_in():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, without_timm: None) -> dict[str, Path]:
    """A folder with weights of each model."""
    transformers.utils.logging.disable_progress_bar()
    found = {}
    for seed, name in enumerate(MODELS):
        torch.manual_seed(seed)
        network = build(name)
        with torch.no_grad():
            for parameter in network.parameters():  # zeros at the start would hide what is wired wrongly
                parameter.add_(torch.randn_like(parameter) * 0.1)
        found[name] = tmp_path_factory.mktemp(name)
        network.save_pretrained(found[name])
    transformers.utils.logging.enable_progress_bar()
    return found


@pytest.fixture(scope="module", params=MODELS)
def segmenter(request: pytest.FixtureRequest, folders: dict[str, Path]) -> PretrainedSegmenter:
    made = segmenters.create(f"{request.param}:{folders[request.param]}", prompt_chunk=3)
    assert isinstance(made, PretrainedSegmenter)
    return made


def picture(height: int = 48, width: int = 80, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def some_points(count: int, each: int, seed: int = 1) -> Tensor:
    return torch.rand(count, each, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([80.0, 48.0])


class TestAgainstTheWholeModel:
    """Our encode, conversions and decode against one call of the model from pixels, the arithmetic written out."""

    @torch.no_grad()
    def check(self, segmenter: PretrainedSegmenter, points: Tensor, labels: Tensor, **prompts: Any) -> None:
        frame = picture()
        stretched = segmenter.stretched
        h, w = (64, 64) if stretched else (38, 64)  # 48 x 80 with the longer side 64; 38.4 rounds down
        resized = F.interpolate(frame[None], (h, w), mode="bilinear", antialias=True)
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        pixels = F.pad((resized - mean) / std, (0, 64 - w, 0, 64 - h))
        scale = torch.tensor([w / 80, h / 48])
        box, several = prompts.get("boxes"), points.shape[1] == 1 and not prompts
        prior = prompts.get("prior")
        expected = segmenter.network(
            pixel_values=pixels,
            input_masks=None if prior is None else Canvas((48, 80), 64, stretched).mask(prior, 16),
            input_points=(points * scale - 0.5)[None] if points.shape[1] else None,
            input_labels=labels[None] if points.shape[1] else None,
            input_boxes=None if box is None else (box.reshape(-1, 2, 2) * scale - 0.5).flatten(1)[None],
            multimask_output=several,
        )
        masks, iou = expected.pred_masks[0], expected.iou_scores[0]
        if not stretched:
            masks = F.interpolate(masks, (64, 64), mode="bilinear")[..., :h, :w]
        masks = F.interpolate(masks, (48, 80), mode="bilinear")
        best = iou.argmax(1)
        each = torch.arange(len(best))
        logits, score = segmenter.decode(segmenter.encode(frame), points, labels, **prompts)
        torch.testing.assert_close(logits, masks[each, best], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(score, iou[each, best].clamp(0, 1), rtol=1e-4, atol=1e-5)

    def test_single_points(self, segmenter: PretrainedSegmenter) -> None:
        self.check(segmenter, some_points(3, 1), torch.ones(3, 1, dtype=torch.int64))

    def test_several_points(self, segmenter: PretrainedSegmenter) -> None:
        self.check(segmenter, some_points(2, 3), torch.tensor([[1, 0, 1], [0, 1, 0]]))

    def test_boxes(self, segmenter: PretrainedSegmenter) -> None:
        boxes = torch.tensor([[4.0, 6.0, 40.0, 30.0], [20.0, 10.0, 79.0, 47.0]])
        self.check(segmenter, torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.int64), boxes=boxes)
        self.check(segmenter, some_points(2, 1), torch.ones(2, 1, dtype=torch.int64), boxes=boxes)

    def test_a_prior(self, segmenter: PretrainedSegmenter) -> None:
        prior = torch.full((1, 48, 80), -6.0)
        prior[:, 10:30, 20:60] = 6
        self.check(segmenter, some_points(1, 2), torch.ones(1, 2, dtype=torch.int64), prior=prior)


class TestContract:
    def test_shapes(self, segmenter: PretrainedSegmenter) -> None:
        for size in ((48, 80), (80, 48), (64, 64), (3, 90), (1, 1)):
            embedding = segmenter.encode(picture(*size))
            points = torch.tensor([[[size[1] / 2, size[0] / 2]]]).expand(4, 1, 2)
            logits, score = segmenter.decode(embedding, points, torch.ones(4, 1))
            assert logits.shape == (4, *size) and score.shape == (4,)
            assert bool(torch.isfinite(logits).all()) and bool(((score >= 0) & (score <= 1)).all())
            every, scores = segmenter.candidates(embedding, points, torch.ones(4, 1))
            assert every.shape == (4, 3, *size) and scores.shape == (4, 3)

    def test_the_point_matters(self, segmenter: PretrainedSegmenter) -> None:
        logits, _ = segmenter.decode(
            segmenter.encode(picture()), torch.tensor([[[10.0, 10.0]], [[70.0, 40.0]]]), torch.ones(2, 1)
        )
        assert (logits[0] - logits[1]).abs().max() > 1e-3

    def test_a_batch_is_one_by_one(self, segmenter: PretrainedSegmenter) -> None:
        embedding = segmenter.encode(picture())
        points = some_points(6, 3)
        labels = torch.tensor([[1, -1, -1], [1, 0, 1], [-1, -1, 1], [0, 1, -1], [1, 1, 1], [-1, 1, -1]])
        prior = torch.randn(6, 48, 80, generator=torch.Generator().manual_seed(2)) * 3
        prior[1] = 0
        prior[5] = 0
        for known in (None, prior):
            logits, score = segmenter.decode(embedding, points, labels, None, known)
            for p in range(6):
                keep = labels[p] >= 0
                own = None if known is None or p in (1, 5) else known[p : p + 1]
                alone, sure = segmenter.decode(embedding, points[p : p + 1, keep], labels[p : p + 1, keep], None, own)
                torch.testing.assert_close(logits[p], alone[0], rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(score[p], sure[0], rtol=1e-4, atol=1e-5)

    def test_a_prior_alone(self, segmenter: PretrainedSegmenter) -> None:
        embedding = segmenter.encode(picture())
        prior = torch.full((2, 48, 80), -8.0)
        prior[0, 10:30, 20:60] = 8
        prior[1, 30:, 60:] = 8
        logits, _ = segmenter.decode(embedding, torch.zeros(2, 0, 2), torch.zeros(2, 0), None, prior)
        assert (logits[0] - logits[1]).abs().max() > 1e-3
        boxes = torch.tensor([[20.0, 10.0, 60.0, 30.0], [60.0, 30.0, 80.0, 48.0]])
        both, _ = segmenter.decode(embedding, torch.zeros(2, 0, 2), torch.zeros(2, 0), boxes, prior)
        assert (both - logits).abs().max() > 1e-3

    def test_a_frame_is_encoded_once(self, segmenter: PretrainedSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        encoder = segmenter.network.vision_encoder
        encoder.register_forward_pre_hook(lambda *_: calls.append(1))
        embedding = segmenter.encode(picture())
        for count in (1, 5):
            segmenter.decode(embedding, some_points(count, 1), torch.ones(count, 1))
        assert len(calls) == 1
        encoder._forward_pre_hooks.clear()

    def test_in_inference_mode(self, segmenter: PretrainedSegmenter) -> None:
        with torch.inference_mode():
            logits, _ = segmenter.decode(segmenter.encode(picture()), some_points(2, 1), torch.ones(2, 1))
        assert not logits.requires_grad


class TestLoading:
    def test_nothing_is_fetched(self, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> Any:
            raise AssertionError("something was fetched")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setattr(socket.socket, "connect", refuse)
        for name in MODELS:
            segmenters.create(f"{name}:{folders[name]}")
        with pytest.raises(InputError):
            segmenters.create("sam:facebook/sam-vit-base")

    def test_quietly(self, folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
        before = transformers.utils.logging.get_verbosity(), transformers.utils.logging.is_progress_bar_enabled()
        segmenters.create(f"sam:{folders['sam']}")
        assert capfd.readouterr() == ("", "")
        after = transformers.utils.logging.get_verbosity(), transformers.utils.logging.is_progress_bar_enabled()
        assert before == after

    def test_a_video_model_holds_the_image_model(self, tmp_path: Path, folders: dict[str, Path]) -> None:
        # SAM 2.1 is published as a video model: another type in config.json, and weights of the memory besides.
        from safetensors.torch import load_file, save_file

        folder = folders["sam2.1-tiny"]
        config = json.loads((folder / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
        state = load_file(folder / "model.safetensors")
        save_file(state | {"memory_encoder.x": torch.zeros(2)}, tmp_path / "model.safetensors", {"format": "pt"})
        points, labels = some_points(2, 1), torch.ones(2, 1)
        logits = []
        for path in (folder, tmp_path):
            made = segmenters.create(f"sam2.1-small:{path}")
            logits.append(made.decode(made.encode(picture()), points, labels)[0])
        assert torch.equal(logits[0], logits[1])

    @pytest.mark.parametrize("name", [name for name in _FAMILIES if name != "edgetam"])
    def test_missing_extra(self, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'trackime\[models\]'"):
            segmenters.create(f"{name}:{tmp_path}")
        monkeypatch.setitem(sys.modules, "transformers", types.ModuleType("transformers"))  # one too old to have it
        with pytest.raises(MissingExtraError, match=rf"{_FAMILIES[name].network}.*trackime\[models\]"):
            segmenters.create(f"{name}:{tmp_path}")

    def test_edgetam_needs_timm(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("trackime.segmenters.pretrained.find_spec", lambda name: None)
        with pytest.raises(MissingExtraError, match=r"timm's RepViT.*pip install 'trackime\[edgetam\]'"):
            segmenters.create(f"edgetam:{tmp_path}")

    @pytest.mark.parametrize(
        "change",
        [{"architecture": "hf-hub:someone/network"}, {"model_args": {"pretrained": True}}],
        ids=["architecture", "pretrained"],
    )
    def test_no_backbone_from_the_hub(self, tmp_path: Path, folders: dict[str, Path], change: dict[str, Any]) -> None:
        config = json.loads((folders["edgetam"] / "config.json").read_text())
        config["vision_config"]["backbone_config"] |= change
        (tmp_path / "config.json").write_text(json.dumps(config))
        shutil.copy(folders["edgetam"] / "model.safetensors", tmp_path)
        with pytest.raises(FormatError, match="has timm fetch files"):
            segmenters.create(f"edgetam:{tmp_path}")

    def test_folders_that_will_not_do(self, tmp_path: Path, folders: dict[str, Path]) -> None:
        good = folders["sam"]
        weights, config = (good / "model.safetensors").read_bytes(), (good / "config.json").read_text()

        def folder(name: str, weights: bytes | None, config: str | None, file: str = "model.safetensors") -> str:
            (tmp_path / name).mkdir()
            if weights is not None:
                (tmp_path / name / file).write_bytes(weights)
            if config is not None:
                (tmp_path / name / "config.json").write_text(config)
            return f"sam:{tmp_path / name}"

        other = json.dumps(json.loads(config) | {"model_type": "bert"})
        wider = json.loads(config)
        wider["vision_config"]["hidden_size"] = 64
        deeper = json.loads(config)
        deeper["vision_config"]["num_hidden_layers"] = 3
        for path, message in (
            (folder("empty", None, None), "expected model.safetensors"),
            (folder("pickle", b"pickle", config, "pytorch_model.bin"), "expected model.safetensors"),
            (folder("bare", weights, None), "expected a config.json"),
            (folder("broken", weights, "{"), "expected a config.json"),
            (folder("list", weights, "[]"), "expected a model of type sam"),
            (folder("other", weights, other), "expected a model of type sam .*found bert"),
            (folder("cut", weights[:1000], config), "cannot be loaded"),
            (folder("wider", weights, json.dumps(wider)), "sam"),
            (folder("deeper", weights, json.dumps(deeper)), "do not fit: .* missing keys"),
        ):
            with pytest.raises(FormatError, match=message) as caught:
                segmenters.create(path)
            assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="expected a folder"):
            segmenters.create(f"sam:{good / 'model.safetensors'}")

    def test_no_kernels_from_the_hub(self, tmp_path: Path, folders: dict[str, Path]) -> None:
        # A configuration may name an attention of the Hub's, which would be fetched and run.
        config = json.loads((folders["sam"] / "config.json").read_text())
        config |= {"_attn_implementation": "someone/kernels", "attn_implementation": "someone/kernels"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        shutil.copy(folders["sam"] / "model.safetensors", tmp_path)
        made = segmenters.create(f"sam:{tmp_path}")
        assert isinstance(made, PretrainedSegmenter)
        assert made.network.config._attn_implementation == "sdpa"
        assert made.network.mask_decoder.config._attn_implementation == "sdpa"
