"""Depth networks of random weights and few channels, saved as their published checkpoints are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SIDE = 56
"""What the processors of the networks resize to."""


def processor(**more: Any) -> dict[str, Any]:
    """A preprocessor_config.json."""
    return {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "size": {"height": SIDE, "width": SIDE},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
        **more,
    }


def save(network: Any, folder: Path, settings: dict[str, Any] | None) -> Path:
    """Save a network with weights large enough for its maps to vary."""
    network.eval().save_pretrained(folder)
    if settings is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def _vary(network: Any, head: Any = None) -> Any:
    """Weights by which maps depend on the picture visibly; `head`'s output is positive in most places."""
    with torch.no_grad():
        for values in network.parameters():
            if values.ndim > 1:
                values.normal_(0, (values[0].numel()) ** -0.5)
        if head is not None:
            head.weight.mul_(0.3)
            head.bias.fill_(0.3)
    return network


def depth_anything(folder: Path, metric: bool = False) -> Path:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.manual_seed(0)
    backbone = Dinov2Config(
        image_size=SIDE,
        patch_size=14,
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=4,
        mlp_ratio=2,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=4,
        depth_estimation_type="metric" if metric else "relative",
        max_depth=20 if metric else 1,
    )
    network = DepthAnythingForDepthEstimation(config)
    settings = processor(keep_aspect_ratio=True, ensure_multiple_of=14)
    return save(_vary(network, network.head.conv3), folder, settings)


def zoedepth(folder: Path, heads: int = 1) -> Path:
    from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation

    torch.manual_seed(0)
    backbone = BeitConfig(
        image_size=64,
        patch_size=16,
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=4,
        intermediate_size=32,
        use_relative_position_bias=True,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    bins = [
        {"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "near"},
        {"n_bins": 8, "min_depth": 0.001, "max_depth": 80.0, "name": "far"},
    ]
    several: dict[str, Any] = {} if heads == 1 else {
        "num_patch_transformer_layers": 4,
        "patch_transformer_hidden_size": 128,
        "patch_transformer_intermediate_size": 16,
        "patch_transformer_num_attention_heads": 2,
    }  # fmt: skip
    config = ZoeDepthConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        bottleneck_features=8,
        num_relative_features=4,
        bin_embedding_dim=8,
        num_attractors=[4, 4, 2, 1],
        bin_configurations=bins[:heads],
        **several,
    )
    network = ZoeDepthForDepthEstimation(config)
    settings = processor(
        size={"height": 64, "width": 96},
        resample=2,
        do_pad=True,
        keep_aspect_ratio=True,
        ensure_multiple_of=32,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return save(_vary(network), folder, settings)


def dpt(folder: Path, hybrid: bool = False) -> Path:
    from transformers import DPTConfig, DPTForDepthEstimation

    torch.manual_seed(0)
    convolutions = {
        "model_type": "bit",
        "global_padding": "same",
        "layer_type": "bottleneck",
        "depths": [1, 1, 1],
        "hidden_sizes": [32, 32, 32],
        "embedding_size": 32,
        "num_groups": 8,
        "out_features": ["stage1", "stage2", "stage3"],
        "embedding_dynamic_padding": True,
    }
    before: dict[str, Any] = {} if not hybrid else {
        "is_hybrid": True,
        "backbone_config": convolutions,
        "backbone_featmap_shape": [1, 32, 4, 4],
        "neck_ignore_stages": [0, 1],
        "reassemble_factors": [1, 1, 1, 0.5],
    }  # fmt: skip
    config = DPTConfig(
        image_size=64,
        patch_size=16,
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=4,
        intermediate_size=32,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[32, 32, 8, 8] if hybrid else [8, 8, 8, 8],
        fusion_hidden_size=8,
        **before,
    )
    network = DPTForDepthEstimation(config)
    # As the authors' configuration has it: a number, and nothing of aspect.
    settings = processor(size=64, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return save(_vary(network, network.head.head[4]), folder, settings)
