"""SAM from the authors' checkpoints (.pth), and MobileSAM: transformers' networks with the original names of weights.

Prompt encoder, mask decoder and ViT are transformers' `SamModel`; MobileSAM's TinyViT takes the place of its image
encoder. The checkpoints are read by `trackime.checkpoints.read_weights`, which runs nothing of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trackime.checkpoints import fill, locate, network_class, read_weights
from trackime.errors import FormatError
from trackime.segmenters._tinyvit import TinyViT
from trackime.segmenters.pretrained import PretrainedSegmenter

_BLOCKS = (r"^vision_encoder\.layers\.", "image_encoder.blocks.")
"""The ViT's blocks, which a TinyViT does not have."""

_NAMES = (
    ("^vision_encoder", "image_encoder"),
    (r"patch_embed\.projection", "patch_embed.proj"),
    (r"neck\.conv1", "neck.0"),
    (r"neck\.layer_norm1", "neck.1"),
    (r"neck\.conv2", "neck.2"),
    (r"neck\.layer_norm2", "neck.3"),
    (
        r"^(prompt_encoder\.shared_embedding|shared_image_embedding)\.positional_embedding",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"\.point_embed\.", ".point_embeddings."),
    (r"mask_embed\.conv1", "mask_downscaling.0"),
    (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"),
    (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    ("upscale_conv1", "output_upscaling.0"),
    ("upscale_layer_norm", "output_upscaling.1"),
    ("upscale_conv2", "output_upscaling.3"),
    ("layer_norm", "norm"),
    (r"(mlps\.\d+|iou_prediction_head)\.layers\.0", r"\1.layers.1"),
    ("proj_in", "layers.0"),
    ("proj_out", "layers.2"),
)
"""Patterns in transformers' names of SAM's weights, and what the original checkpoints have instead; in this order."""


def _load(
    name: str,
    path: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    prompt_chunk: int = 16,
) -> PretrainedSegmenter:
    """SAM (Kirillov et al., ICCV 2023) or MobileSAM (Zhang et al., 2023) from a checkpoint of the authors.

    The size of SAM's ViT follows from the shapes of its weights. ViT-B takes 1.3 GB besides its weights to encode a
    frame, because transformers makes the attention bias of all heads at once.

    Args:
        name: of the checkpoint: mobile-sam, or another for SAM with a ViT.
        path: the checkpoint, such as ``sam_vit_b_01ec64.pth`` or ``mobile_sam.pt``; None: the one called `name`.
        device, prompt_chunk: see `PromptedSegmenter`.

    Raises:
        InputError: no such file.
        FormatError: not a checkpoint, or that of another network.
        MissingExtraError: transformers is not installed.
    """
    network_class(name, "SamModel")
    state = read_weights(locate(name, path))
    if name == "mobile-sam":
        network = _mobile_sam()
    else:
        vision = _vision_config(state)
        hidden = state.get("mask_decoder.transformer.layers.0.mlp.lin1.weight")
        if vision is None or hidden is None:
            raise FormatError(
                f"weights of {name} do not fit: no image_encoder.blocks of SAM's ViT and mask_decoder in them"
            )
        network = _sam(vision, hidden=len(hidden))
    fill(network, state, name)
    return PretrainedSegmenter(network, name, device, prompt_chunk)


mobile_sam = partial(_load, "mobile-sam")
sam_vit_b = partial(_load, "sam-vit-b")
sam_vit_l = partial(_load, "sam-vit-l")
sam_vit_h = partial(_load, "sam-vit-h")


def _sam(vision: Mapping[str, Any], hidden: int = 2048) -> Any:
    """transformers' `SamModel`, without values, whose state dict has the names of the original checkpoints.

    Args:
        vision: options of its ViT, as `SamVisionConfig` calls them; the others are those of ViT-B.
        hidden: width inside the two-layer networks of the decoder's transformer.
    """
    network = _without_values(vision, hidden).to_empty(device="cpu")
    return _with_original_names(network)


def _mobile_sam() -> Any:
    """SAM's prompt encoder and mask decoder around a `TinyViT`; names as in `_sam`."""
    network = _without_values({"num_hidden_layers": 0}).to_empty(device="cpu")
    network.vision_encoder = TinyViT()
    return _with_original_names(network)


def _without_values(vision: Mapping[str, Any], hidden: int = 2048) -> Any:
    from transformers import SamConfig, SamModel

    grid = {key: vision[key] for key in ("image_size", "patch_size") if key in vision}
    channels = vision.get("output_channels", 256)
    # The authors' decoder normalises with torch's default epsilon; transformers' own default differs.
    decoder = {"hidden_size": channels, "iou_head_hidden_dim": channels, "mlp_dim": hidden, "layer_norm_eps": 1e-5}
    config = SamConfig(
        vision_config={"num_pos_feats": channels // 2, **vision},
        prompt_encoder_config={"hidden_size": channels, **grid},
        mask_decoder_config=decoder,
    )
    with torch.device("meta"):  # hundreds of millions of random numbers would be drawn only to be replaced
        return SamModel._from_config(config, attn_implementation="sdpa")


def _with_original_names(network: Any) -> Any:
    """Make `state_dict` and `load_state_dict` of a `SamModel` use the names of the original checkpoints."""
    table = _NAMES if isinstance(network.vision_encoder, TinyViT) else (_BLOCKS, *_NAMES)

    def original(name: str) -> str:
        for pattern, replacement in table:
            name = re.sub(pattern, replacement, name)
        return name

    def rename(module: Any, state: dict[str, Tensor], *_: Any) -> None:
        # The matrix of the positional encoding is there twice, under one original name.
        renamed = {original(key): value for key, value in state.items()}
        state.clear()
        state.update(renamed)

    def restore(module: Any, state: dict[str, Tensor], *_: Any) -> None:
        restored = {key: state[name] for key, name in names.items() if name in state}
        restored |= {key: value for key, value in state.items() if key not in names.values()}
        state.clear()
        state.update(restored)

    names = {key: original(key) for key in network.state_dict()}
    network.register_state_dict_post_hook(rename)
    network.register_load_state_dict_pre_hook(restore)
    return network


def _vision_config(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the ViT whose weights are in a checkpoint, from names and shapes; None where there is none.

    Args:
        state: a checkpoint's tensors by name, those of the encoder below ``image_encoder.``.
    """
    shape = {key.removeprefix("image_encoder."): tuple(value.shape) for key, value in state.items()}
    depth = 0
    while f"blocks.{depth}.attn.rel_pos_h" in shape:
        depth += 1
    needed = ("pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.lin1.weight", "neck.0.weight")
    if depth == 0 or any(key not in shape for key in needed) or len(shape["pos_embed"]) != 4:
        return None
    grid, width = shape["pos_embed"][1], shape["pos_embed"][3]
    sides = [(shape[f"blocks.{i}.attn.rel_pos_h"][0] + 1) // 2 for i in range(depth)]  # attended to, in tokens
    patch = shape["patch_embed.proj.weight"][-1]
    return {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": max(1, width // shape["blocks.0.attn.rel_pos_h"][1]),
        "window_size": min(sides),
        "global_attn_indexes": [i for i, side in enumerate(sides) if side == grid],
        "image_size": grid * patch,
        "patch_size": patch,
        "output_channels": shape["neck.0.weight"][0],
        "mlp_dim": shape["blocks.0.mlp.lin1.weight"][0],
    }
