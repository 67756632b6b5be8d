"""Segmenters by name."""

from typing import Any

from trackime.registry import Registry
from trackime.segmenters.base import PointSegmenter

_REGISTRY: Registry[PointSegmenter] = Registry(
    "segmenter",
    "trackime.segmenters",
    {
        "graphcut": "trackime.segmenters.graphcut:GraphCut",
        "mobile-sam": "trackime.segmenters.sam:mobile_sam",
        "sam-vit-b": "trackime.segmenters.sam:sam_vit_b",
        "sam-vit-l": "trackime.segmenters.sam:sam_vit_l",
        "sam-vit-h": "trackime.segmenters.sam:sam_vit_h",
        "sam": "trackime.segmenters.pretrained:sam",
        "sam-hq": "trackime.segmenters.pretrained:sam_hq",
        "sam2.1-tiny": "trackime.segmenters.pretrained:sam2_tiny",
        "sam2.1-small": "trackime.segmenters.pretrained:sam2_small",
        "sam2.1-base-plus": "trackime.segmenters.pretrained:sam2_base_plus",
        "sam2.1-large": "trackime.segmenters.pretrained:sam2_large",
        "edgetam": "trackime.segmenters.pretrained:edgetam",
    },
)
names = _REGISTRY.names


def create(name: str, device: str = "cpu", **options: Any) -> PointSegmenter:
    """The segmenter called `name`, on `device`. Raises UnknownNameError, InputError."""
    return _REGISTRY.create(name, device=device, **options)
