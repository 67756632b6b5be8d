"""The guided filter."""

from __future__ import annotations

import numpy as np
import pytest

from trackime.imaging import guided_filter


def test_a_constant_stays() -> None:
    guide = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    assert guided_filter(np.full((20, 20), 3.0, np.float32), guide, 2) == pytest.approx(3)


def test_an_edge_of_the_guide_is_kept_and_noise_is_not() -> None:
    guide = np.zeros((40, 40), np.float32)
    guide[:, 20:] = 1
    noisy = guide + np.random.default_rng(0).normal(0, 0.2, guide.shape).astype(np.float32)
    found = guided_filter(noisy, guide, 4)
    assert np.abs(found - guide).mean() < 0.05 and (found[:, 20] - found[:, 19]).min() > 0.7


def test_is_kornia_s_away_from_the_frame_s_edge() -> None:
    torch, filters = pytest.importorskip("torch"), pytest.importorskip("kornia.filters")
    rng = np.random.default_rng(1)
    image, guide = (rng.random((48, 64)).astype(np.float32) for _ in range(2))
    found = guided_filter(image, guide, 3)
    expected = filters.guided_blur(*(torch.from_numpy(x)[None, None] for x in (guide, image)), 7, 4e-4)[0, 0].numpy()
    np.testing.assert_allclose(found[8:-8, 8:-8], expected[8:-8, 8:-8], atol=1e-4)
