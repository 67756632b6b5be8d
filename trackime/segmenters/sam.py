"""SAM from its original checkpoints (.pth), and MobileSAM: networks written here, nothing else needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from trackime.checkpoints import fill, locate, read_weights
from trackime.errors import FormatError
from trackime.segmenters.networks import Sam, SamVit, TinyViT, VitSize
from trackime.segmenters.prompted import PromptedSegmenter, Prompts


class SamSegmenter(PromptedSegmenter):
    """A `Sam` network of this package behind `PointSegmenter`.

    Args:
        network: with weights; moved to `device`.
        name: its name in the registry.
        device, prompt_chunk: see `PromptedSegmenter`.
    """

    def __init__(
        self, network: Sam, name: str = "sam", device: str | torch.device = "cpu", prompt_chunk: int = 16
    ) -> None:
        super().__init__(device, prompt_chunk)
        self.network = network.to(self.device).eval()
        self.name, self.side, self.grid = name, network.side, network.grid

    def _features(self, image: Tensor) -> Tensor:
        features: Tensor = self.network.image_encoder(image)
        return features

    def _masks(self, features: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
        return self.network.decode(
            features, prompts.points, prompts.labels, prompts.boxes, prompts.masks, prompts.several
        )


def mobile_sam(
    path: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu", prompt_chunk: int = 16
) -> SamSegmenter:
    """MobileSAM (Zhang et al., 2023) from ``mobile_sam.pt``.

    Args:
        path: the checkpoint; None: the one called ``mobile-sam``.
        device, prompt_chunk: see `PromptedSegmenter`.

    Raises:
        InputError: no such file.
        FormatError: not a checkpoint, or not one of MobileSAM.
    """
    state = read_weights(locate("mobile-sam", path))
    network = Sam(TinyViT())
    fill(network, state, "mobile-sam")
    return SamSegmenter(network, "mobile-sam", device, prompt_chunk)


def _original(
    name: str,
    path: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    prompt_chunk: int = 16,
) -> SamSegmenter:
    """SAM (Kirillov et al., ICCV 2023) from a checkpoint of the authors, such as ``sam_vit_b_01ec64.pth``.

    How large its encoder is, is told from the shapes, whatever the name.

    Args:
        name: of the checkpoint.
        path: the checkpoint; None: the one called `name`.
        device, prompt_chunk: see `PromptedSegmenter`.

    Raises:
        InputError: no such file.
        FormatError: not a checkpoint, or not one of SAM.
    """
    state = read_weights(locate(name, path))
    network = _sam_of(state)
    if network is None:
        raise FormatError(
            f"weights of {name} do not fit: no image_encoder.blocks of SAM's ViT and mask_decoder in them"
        )
    fill(network, state, name)
    return SamSegmenter(network, name, device, prompt_chunk)


sam_vit_b = partial(_original, "sam-vit-b")
sam_vit_l = partial(_original, "sam-vit-l")
sam_vit_h = partial(_original, "sam-vit-h")


def _sam_of(state: Mapping[str, Tensor]) -> Sam | None:
    """The network for an original checkpoint's tensors, without its weights; None where it is none of SAM's."""
    size = VitSize.of(state)
    hidden = state.get("mask_decoder.transformer.layers.0.mlp.lin1.weight")
    if size is None or hidden is None:
        return None
    with torch.device("meta"):  # hundreds of millions of random numbers would be drawn only to be replaced
        network = Sam(SamVit(size), size.out, size.grid, size.grid * size.patch, hidden=len(hidden))
    return network.to_empty(device="cpu")
