"""Frames made into what networks of depth want, and their maps brought back over the frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trackime.errors import FormatError
from trackime_apps.depth.source import models as start_models
from trackime_apps.depth.source._prepare import Recipe


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"size": {"shortest_edge": 518}}, "expected a size with height and width"),
        ({"size": "large"}, "expected a size with height and width"),
        ({"size": 0}, "size: expected a whole number of 1 .. 8192, got 0"),
        ({"ensure_multiple_of": 1.5}, "ensure_multiple_of: expected a whole number"),
        ({"resample": 0}, "resample: expected 2 (bilinear) or 3 (bicubic), got 0"),
        ({"image_mean": [0.5]}, "image_mean: expected three numbers"),
        ({"image_std": [0.5, 0.5, 0]}, "image_std: expected three positive numbers"),
        ({"do_normalize": False}, "expected do_normalize to be true"),
        ({"rescale_factor": 1.0}, "expected a rescale_factor of 1/255"),
        ({"do_pad": True, "size_divisor": 32}, "expected no padding to multiples"),
    ],
)
def test_bad_settings_of_preparation(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(FormatError) as caught:
        Recipe((518, 518)).overlaid(settings, "here")
    assert str(caught.value).startswith("here") and told in str(caught.value)


SIZES = [(60, 80), (37, 91), (120, 50), (64, 96), (300, 40)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["depth_anything", "dpt", "zoedepth"])
def test_frames_are_prepared_as_transformers_does(kind: str, size: tuple[int, int]) -> None:
    """To the bit where Pillow resizes; ZoeDepth's own processor works in float64 up to a rounding."""
    transformers = pytest.importorskip("transformers")
    name = "ZoeDepthImageProcessor" if kind == "zoedepth" else "DPTImageProcessor"
    processor = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)  # Pil: since version 5
    recipe = start_models._FAMILIES[kind].recipe
    settings: dict[str, Any] = {
        "size": {"height": recipe.size[0], "width": recipe.size[1]},
        "keep_aspect_ratio": recipe.keep_aspect,
        "ensure_multiple_of": recipe.multiple,
        "resample": recipe.resample,
        "image_mean": list(recipe.mean),
        "image_std": list(recipe.std),
    }
    if kind == "zoedepth":
        settings["do_pad"] = True
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    theirs = processor(**settings)(images=[image], return_tensors="np")["pixel_values"]
    ours = recipe.overlaid(settings, "here").images(image[None]).numpy()
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-6 if kind == "zoedepth" else 0)


@pytest.mark.parametrize("kind", ["depth_anything", "dpt", "zoedepth"])
@pytest.mark.parametrize("size", [(60, 80), (130, 170)])
def test_maps_come_back_over_what_was_seen(kind: str, size: tuple[int, int]) -> None:
    """A network that gives its own input: a ramp comes back as the ramp, in the middle of pixels of any size."""
    recipe = start_models._FAMILIES[kind].recipe
    height, width = size
    y, x = np.mgrid[:height, :width] + 0.5
    frame = np.stack([x / width * 250, y / height * 250, 0 * x], -1).astype(np.uint8)
    seen = recipe.images(frame[None])[0] * torch.tensor(recipe.std)[:, None, None]
    seen = (seen + torch.tensor(recipe.mean)[:, None, None]) * 255
    for axis in (0, 1):
        back = recipe.over_frame(seen[axis][None], height, width)[0].numpy()
        h, w = back.shape
        assert abs(h * width - w * height) <= max(height, width)
        expected = ((np.arange(w) + 0.5) / w, (np.arange(h)[:, None] + 0.5) / h)[axis] * 250 - 0.5  # bytes cut off
        inside = np.abs(back - expected)[h // 8 : -h // 8, w // 8 : -w // 8]
        assert inside.max() < 1.5  # half a pixel off would be 1.6 at least


@pytest.mark.parametrize("margin", [False, True])
def test_maps_come_back_as_by_plain_resizing(margin: bool) -> None:
    """At the frame's own resolution: torch's interpolation, and for ZoeDepth the margins cut off."""
    maps = torch.rand(2, 200, 260)
    recipe = Recipe((200, 260), corners=margin, pad=margin)
    rows, columns = recipe.margins(90, 120)
    assert (rows, columns) == ((20, 23) if margin else (0, 0))
    whole = F.interpolate(maps[None], (90 + 2 * rows, 120 + 2 * columns), mode="bilinear", align_corners=margin)[0]
    expected = whole[:, rows : rows + 90, columns : columns + 120]
    torch.testing.assert_close(recipe.over_frame(maps, 90, 120), expected, atol=5e-5, rtol=0)
