"""The flow network that interpolation is compared with: against what the authors' code made of the same weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import ebme
from benchmarks.ebme import BiFlowNet, EbmeMotion, cost_volume, flow_visibility, pyramid_levels
from tests.golden import filled, vectors
from trackime.errors import FormatError, InputError, ShapeError
from trackime.video import open_video

GOLDEN = vectors("ebme_biflow")


@pytest.fixture(scope="module")
def network() -> BiFlowNet:
    """Filled from the names; the last layer is amplified so that flows are pixels, not hundredths."""
    made = BiFlowNet()
    state = filled(made)
    state["flow_estimator.conv_layer6.0.weight"] *= float(GOLDEN["gain"])
    made.load_state_dict(state)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pair() -> list[Tensor]:
    """Two images [1, 3, 32, 48], blue first."""
    return [torch.from_numpy(GOLDEN[k]).permute(2, 0, 1)[None].float() / 255 for k in ("first", "second")]


def off(ours: Tensor, name: str) -> float:
    assert ours.shape == GOLDEN[name].shape
    return float(np.abs(ours.numpy() - GOLDEN[name]).max())


# ---- bad input


def test_weights_of_something_else(tmp_path):
    with pytest.raises(InputError, match="nothing there"):
        ebme.load(tmp_path / "missing.pkl")
    torch.save({"a.weight": torch.zeros(3)}, tmp_path / "other.pkl")
    with pytest.raises(FormatError, match="weights of the EBME flow network do not fit: 30 missing"):
        ebme.load(tmp_path / "other.pkl")
    (tmp_path / "text.pkl").write_text("no weights")
    with pytest.raises(FormatError):
        ebme.load(tmp_path / "text.pkl")


def test_sizes_and_levels_that_cannot_be(network, pair):
    with pytest.raises(ShapeError, match="multiples of 16"):
        network(pair[0][..., :40], pair[1][..., :40], 3)
    with pytest.raises(ShapeError, match="images"):
        network(pair[0], pair[1][..., :32], 2)
    video = open_video(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="levels: expected 1 or more, got 0"):
        EbmeMotion(video, network, levels=0)


# ---- the network


def test_parameters_bear_the_official_names(network):
    shapes = {k: list(v.shape) for k, v in network.state_dict().items()}
    assert shapes == json.loads(str(GOLDEN["shapes"]))
    assert sum(math.prod(shape) for shape in shapes.values()) == 632_900


def test_it_equals_the_authors(network, pair):
    assert off(network.feat_pyramid(pair[0])[0, :8, :6, :6], "features") < 1e-6
    (coarse, memory), (fine, _) = network.levels(*pair, 2)
    assert off(coarse[0], "flow_0") < 1e-5 and off(memory[0], "memory_0") < 1e-5
    assert off(fine[0], "flow_1") < 5e-5
    assert off(network(*pair, 2)[0], "flow") < 5e-5


def test_weights_from_a_file_with_the_prefix_of_parallel_training(network, pair, tmp_path):
    torch.save({f"module.{k}": v for k, v in network.state_dict().items()}, tmp_path / "net.pkl")
    assert torch.equal(ebme.load(tmp_path / "net.pkl")(*pair, 1), network(*pair, 1))


def test_cost_volume_by_hand():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 1, 5, 4, 6, generator=rng)
    found = cost_volume(a, b, 2)
    assert found.shape == (1, 25, 4, 6)
    for channel, y, x in np.ndindex(25, 4, 6):
        v, u = y + channel // 5 - 2, x + channel % 5 - 2
        expected = (a[0, :, y, x] * b[0, :, v, u]).mean() if 0 <= v < 4 and 0 <= u < 6 else torch.tensor(0.0)
        assert abs(float(found[0, channel, y, x] - expected)) < 1e-6


# ---- as a source of motion


@pytest.mark.parametrize(
    ("size", "levels"),
    [((448, 256), 3), ((449, 256), 4), ((1280, 720), 5), ((720, 1280), 5), ((3840, 2160), 7), ((16, 16), 1)],
)
def test_levels_by_size(size, levels):
    assert pyramid_levels(*size) == levels


def test_any_frame_size(network):
    frames = np.random.default_rng(0).integers(0, 256, (3, 21, 35, 3), np.uint8)
    source = EbmeMotion(open_video(frames), network, levels=2)
    images = []
    for t in (0, 2):  # blue first, grey to the right and below
        padded = np.full((24, 40, 3), 0.5, np.float32)
        padded[:21, :35] = frames[t, ..., ::-1] / 255
        images.append(torch.from_numpy(padded).permute(2, 0, 1)[None])
    expected = network(*images, 2)[0, :, :21, :35]
    forward, backward = source.flow(0, 2)
    torch.testing.assert_close(torch.cat([forward, backward]), expected)
    motion = source.between(0, 2)
    assert torch.equal(motion.forward.flow, forward) and torch.equal(motion.backward.flow, backward)
    assert motion.forward.visibility.shape == (21, 35)
    assert torch.equal(motion.backward.visibility, flow_visibility(backward, forward))


def test_seen_where_the_way_back_agrees():
    there = torch.zeros(2, 6, 8)
    there[0] = 2
    sight = flow_visibility(there, -there)
    assert (sight[:, :6] == 1).all() and (sight[:, 6:] == 0).all()  # the last two columns leave the frame
    back = -there
    back[:, :, 4:] = 3
    assert (flow_visibility(there, back)[:, :2] == 1).all() and (flow_visibility(there, back)[:, 2:] < 1e-3).all()
