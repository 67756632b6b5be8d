"""Initial depth by a network that sees one frame at a time.

Depth Anything V2 (Yang et al. 2024), ZoeDepth (Bhat et al. 2023) and DPT (Ranftl et al. 2021) through transformers,
from a checkpoint's folder. Each is taken as what it was trained to give: disparity up to an unknown scale and shift,
or metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trackime.arrays import FloatArray, UInt8
from trackime.checkpoints import CHECKPOINTS, check_folder, load_network, locate, network_class, read_json
from trackime.devices import resolve_device
from trackime.errors import DeviceError, FormatError, InputError, UnknownNameError
from trackime.progress import Report, silent
from trackime.video import Video

from ..initial_depth import DepthMaps, is_known
from ._prepare import IMAGENET, Recipe

_FARTHEST = 1000.0
"""Relative disparity ends at 0, the sky: there depth is this many times that of the frame's nearest pixel."""

_BATCH = 8
"""Frames computed together on a GPU."""

_VOTES = 8
"""Frames that decide between ZoeDepth's heads, one for indoors and one for outdoors."""

_BACKBONES = ("dinov2", "beit", "bit", "swin", "swinv2")
"""Kinds of backbone that are in transformers itself; others load code or weights from elsewhere."""


@dataclass(frozen=True)
class _Family:
    """The differences between the families: the class's name in transformers, and the default preparation of frames."""

    network: str
    recipe: Recipe


_FAMILIES = {
    "depth_anything": _Family("DepthAnythingForDepthEstimation", Recipe((518, 518), True, 14, 3, *IMAGENET)),
    "zoedepth": _Family("ZoeDepthForDepthEstimation", Recipe((384, 512), True, 32, 2, corners=True, pad=True)),
    "dpt": _Family("DPTForDepthEstimation", Recipe((384, 384), resample=2)),
}
"""By the kind of model, as config.json calls it."""


@dataclass(frozen=True)
class _ModelFiles:
    """A model whose weights are not loaded yet: its class in transformers, its folder, config.json, how frames are
    prepared."""

    network: Any
    folder: Path
    config: dict[str, Any]
    recipe: Recipe

    @property
    def disparity(self) -> bool:
        relative = self.config.get("depth_estimation_type", "relative") == "relative"
        return self.config["model_type"] != "zoedepth" and relative


def _names() -> list[str]:
    """The models known by name."""
    return [row.name for row in CHECKPOINTS.values() if row.kind == "depth"]


class DepthModel:
    """A network with weights.

    Args:
        model: one of `_names`, or a folder with config.json, model.safetensors and perhaps preprocessor_config.json.
        device: where it computes.

    Attributes:
        disparity: it gives disparity up to scale and shift; else depth in metres.
        metric: the opposite.

    Raises:
        UnknownNameError, InputError: neither a name nor a folder.
        FormatError: a folder that does not hold such a model, or not in full.
        DownloadError: a model that is not in the cache and cannot or must not be fetched.
        MissingExtraError: transformers is not installed, or too old for this model.
        DeviceError: no such device.
    """

    def __init__(self, model: str, device: str | torch.device = "auto") -> None:
        self.device = resolve_device(device)
        self.name = model
        files = _find(model)
        self.recipe = files.recipe
        network = load_network(model, files.network, files.folder, _attention(files.config))
        self.network = network.to(self.device).eval()
        self.network.requires_grad_(False)
        self.disparity = files.disparity
        self.metric = not self.disparity
        self.votes = len(getattr(self.network.config, "bin_configurations", None) or [0]) > 1

    @torch.inference_mode()
    def predict(self, frames: UInt8) -> FloatArray:
        """Output of the network for frames uint8 [B, H, W, 3]: disparity or metres, float32 [B, h, w]."""
        height, width = frames.shape[1:3]
        found: Tensor = self.network(pixel_values=self.recipe.images(frames).to(self.device)).predicted_depth
        return np.asarray(self.recipe.over_frame(found.float(), height, width).cpu())

    @torch.inference_mode()
    def choose_head(self, frames: UInt8) -> None:
        """Choose ZoeDepth's head for a whole video by a vote of its frames uint8 [B, H, W, 3].

        The network itself lets the frames of a batch vote: depth would jump between two scales, depending on how many
        frames fit into memory.
        """
        if self.votes:
            logits = [self.network(pixel_values=self.recipe.images(f[None]).to(self.device)).domain_logits
                      for f in frames]  # fmt: skip
            chosen = torch.cat(logits).sum(0).argmax()
            one_hot = torch.nn.functional.one_hot(chosen, logits[0].shape[1]).to(logits[0])
            self.network.metric_head.mlp_classifier = _FixedLogits(one_hot)
            self.votes = False


class _FixedLogits(torch.nn.Module):
    """Replaces a classifier of embeddings [B, C]: the same logits [D] for all."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, embedding: Tensor) -> Tensor:
        return self.logits.expand(len(embedding), -1)


def estimate(
    video: Video,
    maps: Path,
    model: str,
    *,
    device: str | torch.device = "auto",
    batch: int | None = None,
    progress: Report = silent,
) -> DepthMaps:
    """A map of every frame by a network, kept in a folder; those already there are not computed again.

    Args:
        video: T frames, read in order.
        maps: the folder; it must be of the same video and model.
        model, device: see `DepthModel`.
        batch: frames computed together; halved when out of memory. None: `_BATCH` on a GPU; on a CPU 1,
            where more are no faster.
        progress: called with the stage "depth".

    Returns:
        The maps [h, w], of the frame's shape at about the network's resolution. Where relative disparity is 0, depth
        is `_FARTHEST` times the nearest, and not measured.

    Raises:
        InputError: batch below 1, and as `DepthModel`.
        DeviceError: out of memory on one frame.
        FormatError: a network that gives no positive number on a frame; and as `DepthModel`.
    """
    if batch is not None and batch < 1:
        raise InputError(f"batch: expected 1 frame or more, got {batch}")
    network = DepthModel(model, device)
    made = DepthMaps(maps, len(video), network.disparity, network.metric)
    missing = [t for t in range(len(video)) if t not in made]
    if not missing:
        return made
    batch = batch or (1 if network.device.type == "cpu" else _BATCH)
    chosen = not network.votes
    done = len(video) - len(missing)
    while missing:
        now, missing = missing[:batch], missing[batch:]
        try:
            if not chosen:
                voters = np.unique(np.linspace(0, len(video) - 1, _VOTES).round().astype(int))
                network.choose_head(np.stack([video[int(t)] for t in voters]))
                chosen = True
            found = network.predict(np.stack([video[t] for t in now]))
        except (torch.OutOfMemoryError, MemoryError) as error:
            if len(now) == 1:
                size = f"{video.info.width}x{video.info.height}"
                raise DeviceError(f"out of memory on one frame of {size} by {model} on {network.device}") from error
            found = None
        if found is None:  # outside the handler: the failed attempt's tensors must be gone by now
            missing, batch = now + missing, len(now) // 2
            continue
        for t, values in zip(now, found, strict=True):
            _write(made, t, values, model)
        done += len(now)
        progress("depth", done, len(video))
    return made


def _write(maps: DepthMaps, t: int, values: FloatArray, model: str) -> None:
    good = is_known(values)
    if not good.any():
        raise FormatError(f"{model}: frame {t}: expected positive numbers of it, got none: are these its weights?")
    if maps.disparity:
        least = values[good].max() / _FARTHEST
        depth = 1 / np.where(np.isfinite(values), np.maximum(values, least), least)
        maps.write(t, depth, good & (values > least))
    else:
        maps.write(t, np.where(good, values, 0))


def gives_disparity(model: str) -> bool:
    """Whether a model gives disparity rather than metres; fetches it where it must be. Errors as `DepthModel`."""
    return _find(model).disparity


def _find(model: str) -> _ModelFiles:
    """Everything of a model but its weights."""
    kinds = {family.network: network_class(model, family.network) for family in _FAMILIES.values()}
    folder = _folder(model)
    config = check_folder(model, folder, tuple(_FAMILIES))
    family = _FAMILIES[config["model_type"]]
    _check_backbone(model, folder, config)
    return _ModelFiles(kinds[family.network], folder, config, _recipe(model, folder, config, family))


def _folder(model: str) -> Path:
    if model in _names():
        return locate(model)
    path = Path(model).expanduser()
    if path.exists() or "/" in model or "\\" in model or model.startswith((".", "~")):
        return path
    raise UnknownNameError("depth model", model, [*_names(), "a folder"])


def _check_backbone(name: str, folder: Path, config: dict[str, Any]) -> None:
    """Refuse configurations that have code or weights fetched for their backbone."""
    where = folder / "config.json"
    backbone = config.get("backbone_config")
    kind = _backbone(config)
    asks = [key for key in ("backbone", "use_timm_backbone", "use_pretrained_backbone") if config.get(key)]
    if asks or (backbone is not None and kind not in _BACKBONES):
        got = ", ".join(asks) or f"a backbone {kind!r}"
        raise FormatError(f"{name}: {where}: expected a backbone_config of {', '.join(_BACKBONES)}, got {got}")


def _backbone(config: dict[str, Any]) -> str | None:
    """The kind of backbone; None where it has none of its own, or does not name it."""
    backbone = config.get("backbone_config")
    if not isinstance(backbone, dict):
        return None
    kind: str | None = backbone.get("model_type", "bit" if config.get("is_hybrid") else None)
    return kind


def _attention(config: dict[str, Any]) -> str | dict[str, str]:
    """The attention implementation: fused where transformers has that for the backbone."""
    return {"": "eager", "backbone_config": "sdpa"} if _backbone(config) in ("dinov2", "beit") else "eager"


def _recipe(name: str, folder: Path, config: dict[str, Any], family: _Family) -> Recipe:
    file, recipe = "preprocessor_config.json", family.recipe
    if (folder / file).is_file():
        recipe = recipe.overlaid(read_json(name, folder, file), f"{name}: {folder / file}")
    square = recipe.size[0] == recipe.size[1] and not recipe.keep_aspect
    if config["model_type"] == "dpt" and (config.get("is_hybrid") or not config.get("backbone_config")) and not square:
        # Its own backbone takes its patches for a square.
        raise FormatError(f"{name}: {folder / file}: expected square images for DPT, got others")
    return recipe
