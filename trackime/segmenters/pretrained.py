"""SAM, SAM-HQ, SAM 2.1 and EdgeTAM through transformers, from a folder on this machine.

The folder holds ``config.json`` and ``model.safetensors`` (or shards with their index), as models are published on the
Hugging Face Hub. Nothing is fetched, and pickles are not read. Frames, points and masks are converted here, so that
neither transformers' image processors nor torchvision are needed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trackime.checkpoints import check_folder, load_network, locate, network_class
from trackime.errors import FormatError, MissingExtraError
from trackime.segmenters.prompted import PromptedSegmenter, Prompts

_BACKBONE_OPTIONS = {"in_chans", "features_only", "out_indices"}
"""Options of timm that a configuration may contain; others fetch weights."""


@dataclass(frozen=True)
class _Family:
    """The differences between the models.

    Attributes:
        network: name of the class in transformers.
        types: `model_type` in config.json of the models whose weights it takes; a video model's include them.
        stretched: see `PromptedSegmenter`.
    """

    network: str
    types: tuple[str, ...]
    stretched: bool


_SAM = _Family("SamModel", ("sam",), False)  # Kirillov et al., Segment Anything, ICCV 2023
_SAM_HQ = _Family("SamHQModel", ("sam_hq",), False)  # Ke et al., Segment Anything in High Quality, NeurIPS 2023
_SAM2 = _Family("Sam2Model", ("sam2", "sam2_video"), True)  # Ravi et al., SAM 2, ICLR 2025
_EDGETAM = _Family("EdgeTamModel", ("edgetam", "edgetam_video"), True)  # Zhou et al., EdgeTAM, CVPR 2025

_FAMILIES = {
    "sam": _SAM,
    "sam-hq": _SAM_HQ,
    "sam2.1-tiny": _SAM2,
    "sam2.1-small": _SAM2,
    "sam2.1-base-plus": _SAM2,
    "sam2.1-large": _SAM2,
    "edgetam": _EDGETAM,
}
"""By name in the registry. The folder's config.json has the sizes."""


class PretrainedSegmenter(PromptedSegmenter):
    """A transformers network behind `PointSegmenter`.

    Args:
        network: a class of `_FAMILIES`, with weights; moved to `device`.
        name: its name in the registry.
        device, prompt_chunk: see `PromptedSegmenter`.
        stretched: whether frames are stretched over the canvas, as for SAM 2.

    Raises:
        FormatError: a network whose input is not square.
    """

    def __init__(
        self,
        network: Any,
        name: str,
        device: str | torch.device = "cpu",
        prompt_chunk: int = 16,
        stretched: bool = False,
    ) -> None:
        super().__init__(device, prompt_chunk)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.name, self.stretched = name, stretched
        config = network.config
        self.side = _square(name, config.prompt_encoder_config.image_size)
        self.grid = _square(name, network.prompt_encoder.image_embedding_size)

    def _features(self, image: Tensor) -> list[Tensor]:
        """Feature maps, the embedding [1, C, g, g] last; finer ones first, SAM-HQ: an early block's [1, g, g, C']."""
        found = self.network.get_image_embeddings(image)
        if isinstance(found, Tensor):
            return [found]
        if isinstance(found, tuple):  # SAM-HQ: the decoder takes the first of the intermediate maps only
            return [found[1][0], found[0]]
        return list(found)

    def _masks(self, features: list[Tensor], prompts: Prompts) -> tuple[Tensor, Tensor]:
        count = len(prompts.labels)
        if prompts.masks is not None:
            # One image for each prompt: these networks add mask prompts to images, not to prompts of an image.
            features = [f.expand(count, *f.shape[1:]) for f in features]
        batch = 0 if prompts.masks is None else 1
        points: Tensor | None = prompts.points.unsqueeze(batch)  # [1, P, K, 2] or [P, 1, K, 2]
        labels: Tensor | None = prompts.labels.unsqueeze(batch)
        if prompts.boxes is not None and not prompts.labels.shape[1]:
            points = labels = None
        image: dict[str, Any] = {"image_embeddings": features if self.stretched else features[-1]}
        if not self.stretched and len(features) == 2:
            image["intermediate_embeddings"] = features[:1]
        found = self.network(
            **image,
            input_points=points,
            input_labels=labels,
            input_boxes=None if prompts.boxes is None else prompts.boxes.unsqueeze(batch),
            input_masks=prompts.masks,
            multimask_output=prompts.several,
        )
        return found.pred_masks.flatten(0, 1), found.iou_scores.flatten(0, 1)


def _load(
    name: str,
    path: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    prompt_chunk: int = 16,
) -> PretrainedSegmenter:
    """The segmenter called `name`, a key of `_FAMILIES`.

    Args:
        name: of the model that is expected in the folder.
        path: the folder; None: the one called `name`.
        device, prompt_chunk: see `PromptedSegmenter`.

    Raises:
        InputError: no such folder.
        FormatError: the folder holds another kind of model, or is incomplete.
        MissingExtraError: transformers is not installed, or too old for this model; timm, for EdgeTAM.
    """
    family = _FAMILIES[name]
    kind = _network_class(name, family)
    folder = locate(name, path)
    _check_backbone(name, folder, check_folder(name, folder, family.types))
    network = load_network(name, kind, folder)
    return PretrainedSegmenter(network, name, device, prompt_chunk, family.stretched)


sam = partial(_load, "sam")
sam_hq = partial(_load, "sam-hq")
sam2_tiny = partial(_load, "sam2.1-tiny")
sam2_small = partial(_load, "sam2.1-small")
sam2_base_plus = partial(_load, "sam2.1-base-plus")
sam2_large = partial(_load, "sam2.1-large")
edgetam = partial(_load, "edgetam")


def _network_class(name: str, family: _Family) -> Any:
    """The class in transformers, imported now."""
    kind = network_class(name, family.network)
    if family is _EDGETAM and not (find_spec("timm") and find_spec("torchvision")):  # timm needs the latter
        raise MissingExtraError(f"{name}, whose backbone is timm's RepViT,", "edgetam")
    return kind


def _check_backbone(name: str, folder: Path, config: dict[str, Any]) -> None:
    """FormatError where the configuration has timm fetch files."""
    vision = config.get("vision_config")
    backbone = vision.get("backbone_config") if isinstance(vision, dict) else None
    if isinstance(backbone, dict):
        options = backbone.get("model_args") or {}
        if ":" in str(backbone.get("architecture", "")) or not set(options) <= _BACKBONE_OPTIONS:
            raise FormatError(f"{name}: refused, {folder / 'config.json'} has timm fetch files for its backbone")


def _square(name: str, size: Any) -> int:
    sides = {int(s) for s in size} if isinstance(size, list | tuple) else {int(size)}
    if len(sides) != 1:
        raise FormatError(f"{name}: expected a network for square images, got {size}")
    return sides.pop()
