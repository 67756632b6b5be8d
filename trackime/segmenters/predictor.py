"""A `SamPredictor` of segment-anything (extra ``[sam]``), or of a package with the same interface, as a segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trackime.arrays import Float32, UInt8
from trackime.errors import InputError
from trackime.geometry import scale_points
from trackime.segmenters._canvas import Canvas
from trackime.segmenters.prompted import Embedding, PromptedSegmenter, Prompts


@dataclass(frozen=True, eq=False)
class _Image:
    """What the predictor needs to encode a frame (again)."""

    canvas: Canvas
    rgb: UInt8  # [H, W, 3]


class SamPredictorSegmenter(PromptedSegmenter):
    """A predictor with SAM's interface (Kirillov et al., ICCV 2023) behind `PointSegmenter`.

    The predictor holds one frame at a time. A frame that is decoded after another one was encoded is encoded again,
    so decode all prompts of a frame before the next.

    Args:
        predictor: has ``set_image(rgb)`` and ``predict(point_coords, point_labels, box, mask_input,
            multimask_output, return_logits)`` with the arguments and results of `segment_anything.SamPredictor`:
            MobileSAM's and SAM-HQ's do, SAM 2's with `stretched`. On the device where its model lies.
        side: of the square that its model sees, in pixels.
        stretched: whether its model sees frames stretched over the square, as SAM 2 does.

    Raises:
        InputError: an object without these two functions.
    """

    name, grid = "sam-predictor", 64

    def __init__(self, predictor: Any, side: int = 1024, stretched: bool = False) -> None:
        missing = [name for name in ("set_image", "predict") if not callable(getattr(predictor, name, None))]
        if missing:
            raise InputError(f"predictor: expected SamPredictor's set_image and predict, found no {missing[0]}")
        super().__init__(str(getattr(predictor, "device", "cpu")))
        self.predictor, self.side, self.stretched = predictor, side, stretched
        self._current: _Image | None = None

    def encode(self, frame: Tensor) -> Embedding:
        """Run the image encoder. See `PointSegmenter.encode`.

        Raises:
            ShapeError: not [3, H, W], or without a pixel.
        """
        canvas = self._canvas(frame)
        rgb = (frame.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        image = _Image(canvas, np.ascontiguousarray(rgb))
        self._show(image)
        return Embedding(canvas, image)

    def _show(self, image: _Image) -> None:
        if image is not self._current:
            with torch.no_grad():
                self.predictor.set_image(image.rgb)
            self._current = image

    def _masks(self, features: _Image, prompts: Prompts) -> tuple[Tensor, Tensor]:
        self._show(features)
        canvas = features.canvas

        def pixels(xy: Tensor) -> Float32:
            """Points [..., 2] of the canvas where the predictor expects them: it scales from the frame itself."""
            return np.asarray(scale_points(xy, canvas.inner, canvas.size).cpu(), np.float32)

        found = []
        for p, (points, labels) in enumerate(zip(prompts.points, prompts.labels, strict=True)):
            _, iou, logits = self.predictor.predict(
                point_coords=pixels(points) if len(points) else None,
                point_labels=labels.cpu().numpy() if len(points) else None,
                box=None if prompts.boxes is None else pixels(prompts.boxes[p].reshape(2, 2)).reshape(4),
                mask_input=None if prompts.masks is None else prompts.masks[p].cpu().numpy(),
                multimask_output=prompts.several,
                return_logits=True,
            )
            found.append((torch.as_tensor(logits), torch.as_tensor(iou)))
        masks, scores = (torch.stack(part).to(self.device) for part in zip(*found, strict=True))
        return masks, scores
