"""Reading other people's checkpoints: nothing runs, what does not fit is told by name."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trackime.checkpoints import fill, read_weights
from trackime.errors import FormatError, InputError


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("wrap", [None, "state_dict", "model", "model_state_dict"])
def test_wrapped_or_flat(network, tmp_path, wrap):
    state = network.state_dict()
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "a.pt")
    read = read_weights(tmp_path / "a.pt")
    assert list(read) == list(state)
    assert all(torch.equal(read[k], state[k]) for k in state)


def test_safetensors(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    assert set(read_weights(tmp_path / "a.safetensors")) == set(network.state_dict())


def test_prefixes_are_taken_off_only_where_all_have_them(tmp_path):
    torch.save({"module.model.a": torch.ones(1), "module.model.b": torch.ones(1)}, tmp_path / "a.pt")
    assert set(read_weights(tmp_path / "a.pt", prefix="model.")) == {"a", "b"}
    torch.save({"model.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "b.pt")
    assert set(read_weights(tmp_path / "b.pt", prefix="model.")) == {"model.a", "b"}


class Malicious:
    """Touches a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_malicious_file_runs_nothing(tmp_path, how):
    victim, path = tmp_path / "touched", tmp_path / "evil.pt"
    if how == "torch":
        torch.save({"a": torch.ones(1), "b": Malicious(victim)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": Malicious(victim)}))
    with pytest.raises(FormatError) as caught:
        read_weights(path)
    assert "nothing in it was run: " in str(caught.value) and "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # no advice to load it all the same
    assert not victim.exists()


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04cut", b"\x80\x02}q\x00", bytes(64)])
def test_garbage_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_pickled_network_is_named(network, tmp_path):
    torch.save(network, tmp_path / "a.pt")
    with pytest.raises(FormatError, match=r"it asks for torch\.nn\.modules\.container\.Sequential, expected tensors"):
        read_weights(tmp_path / "a.pt")


def test_a_file_cut_short(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 3}, {3: torch.ones(1)}, torch.ones(2)])
def test_not_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(FormatError, match="expected"):
        read_weights(tmp_path / "a.pt")


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="nothing there"):
        read_weights(tmp_path / "a.pt")
    with pytest.raises(InputError, match="a folder"):
        read_weights(tmp_path)


def test_fill_is_exact(network):
    state = {k: torch.full_like(v, 2) for k, v in network.state_dict().items()}
    fill(network, state, "toy")
    assert all(bool((v == 2).all()) for v in network.state_dict().values())
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_fill_says_what_does_not_fit(network):
    state = dict(network.state_dict())
    before = state["0.bias"].clone()
    del state["1.bias"]
    state["head.weight"] = torch.ones(1)
    state["0.weight"] = torch.ones(4, 3)
    state["0.bias"] = torch.full((2,), 9.0)
    with pytest.raises(FormatError) as caught:
        fill(network, state, "toy")
    message = str(caught.value)
    assert "1 missing (1.bias)" in message and "1 not expected (head.weight)" in message
    assert "0.weight [4, 3] instead of [2, 3]" in message
    assert torch.equal(network.state_dict()["0.bias"], before)


def test_many_keys_are_counted():
    with pytest.raises(FormatError, match=r"and 2 more"):
        fill(nn.Sequential(*(nn.Linear(1, 1) for _ in range(3))), {}, "toy")
