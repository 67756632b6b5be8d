"""Networks of transformers small enough to be saved by tests."""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

VISION = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "window_size": 3,
    "global_attn_indexes": [1], "output_channels": 32, "mlp_dim": 64, "num_pos_feats": 16,
}  # fmt: skip
PROMPT = {"hidden_size": 32, "image_size": 64, "image_embedding_size": 4}
DECODER = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
HIERA = {
    "model_type": "sam2_hiera_det_model", "hidden_size": 16, "num_attention_heads": 1, "image_size": [64, 64],
    "embed_dim_per_stage": [16, 32, 64, 128], "num_attention_heads_per_stage": [1, 2, 4, 8],
    "blocks_per_stage": [1, 1, 2, 1], "window_size_per_stage": [4, 4, 4, 2], "global_attention_blocks": [3],
    "window_positional_embedding_background_size": [2, 2],
}  # fmt: skip
VISION2 = {
    "backbone_channel_list": [128, 64, 32, 16],
    "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    "fpn_hidden_size": 32,
}
PROMPT2 = {"hidden_size": 32, "image_size": 64, "patch_size": 16}


class RepVitStandIn(nn.Module):
    """Four maps, each half the size of the one before: what EdgeTAM asks of timm's RepViT."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [3, 16, 32, 64, 128]
        self.stages = nn.ModuleList(
            nn.Conv2d(a, b, 4 if i == 0 else 2, 4 if i == 0 else 2) for i, (a, b) in enumerate(pairwise(sizes))
        )

    def forward(self, x: Tensor, **_: Any) -> Any:
        maps = []
        for stage in self.stages:
            x = torch.tanh(stage(x))
            maps.append(x)
        return types.SimpleNamespace(last_hidden_state=maps, hidden_states=None)


@contextmanager
def timm_stand_in() -> Iterator[None]:
    """EdgeTAM with a stand-in for the backbone that timm would bring."""
    from transformers.models.edgetam import modeling_edgetam

    class Auto:
        @staticmethod
        def from_config(config: Any, **options: Any) -> Any:
            if config.model_type == "timm_wrapper":
                return RepVitStandIn()
            return transformers.AutoModel.from_config(config, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_edgetam, "AutoModel", Auto)
        patch.setattr("trackime.segmenters.pretrained.find_spec", lambda name: name)
        yield


def build(name: str) -> Any:
    """The network of a segmenter's name, with random weights."""
    if name == "sam":
        config = transformers.SamConfig(vision_config=VISION, prompt_encoder_config=PROMPT, mask_decoder_config=DECODER)
        return transformers.SamModel(config)
    if name == "sam-hq":
        config = transformers.SamHQConfig(
            vision_config=VISION, prompt_encoder_config=PROMPT, mask_decoder_config=DECODER | {"vit_dim": 32}
        )
        return transformers.SamHQModel(config)
    if name == "edgetam":
        config = transformers.EdgeTamConfig(
            vision_config=VISION2, prompt_encoder_config=PROMPT2, mask_decoder_config=DECODER
        )
        return transformers.EdgeTamModel(config)
    config = transformers.Sam2Config(
        vision_config=VISION2 | {"backbone_config": HIERA}, prompt_encoder_config=PROMPT2, mask_decoder_config=DECODER
    )
    return transformers.Sam2Model(config)
