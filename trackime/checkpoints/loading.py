"""Safe reading of weights, and strict loading into a network.

Checkpoints are untrusted files. They are read as safetensors, or by torch's restricted unpickler
(``weights_only=True``), which creates tensors and containers and executes nothing.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trackime.errors import FormatError, InputError

_WRAPPERS = ("state_dict", "model", "model_state_dict", "params")
"""Keys under which published checkpoints keep the state dict, next to optimizers and the like."""
_UNREADABLE = RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError
_SHOWN = 4
"""Keys named in a message; the rest are counted."""


def read_weights(path: str | os.PathLike[str], prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Args:
        path: safetensors (by its suffix), else a file of `torch.save`; a state dict in it may be wrapped in a
            dictionary under one of `_WRAPPERS`.
        prefix: taken off the names where all of them have it, such as Lightning's ``model.``; so is the ``module.``
            of data parallel training.

    Raises:
        InputError: no such file.
        FormatError: not a checkpoint, cut short, or one that holds anything but tensors and plain containers.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"weights {file}: expected a file, found {'a folder' if file.is_dir() else 'nothing there'}")
    try:
        state = load_file(file) if file.suffix == ".safetensors" else _unpickle(file)
    except (pickle.UnpicklingError, SafetensorError) as error:
        raise FormatError(f"weights {file}: refused, nothing in it was run: {_refusal(error)}") from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise FormatError(f"weights {file}: expected safetensors or a torch checkpoint: {reason[:200]}") from None
    for head in ("module.", prefix):
        if head and state and all(key.startswith(head) for key in state):
            state = {key.removeprefix(head): value for key, value in state.items()}
    return state


def _refusal(error: Exception) -> str:
    """The reason, without torch's advice to load the file unsafely."""
    asked = re.search(r"GLOBAL ([\w.]+)", str(error))
    if asked:
        return f"it asks for {asked[1]}, expected tensors and plain containers"
    if "Unsupported operand" in str(error):
        return "expected safetensors or a torch checkpoint"
    return " ".join(str(error).split("\n")[0].split())[:200]


def _unpickle(file: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the protocol of a file that is then refused
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise FormatError(f"weights {file}: expected a dictionary of tensors, found {type(loaded).__name__}")
    strange = [str(k) for k, v in loaded.items() if not isinstance(k, str) or not isinstance(v, Tensor)]
    if strange:
        raise FormatError(f"weights {file}: expected tensors by name, but {_some(strange)} hold something else")
    return dict(loaded)


def fill(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a checkpoint into a network; all names and shapes must match.

    Args:
        network: changed only if everything matches; set to evaluation.
        state: by name, from `read_weights`.
        what: name of the checkpoint in messages.

    Raises:
        FormatError: names missing or not expected, other shapes; the message names them.
    """
    own = network.state_dict()
    missing = [k for k in own if k not in state]
    extra = [k for k in state if k not in own]
    differ = [
        f"{k} {list(state[k].shape)} instead of {list(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    kinds = [(missing, "missing"), (extra, "not expected"), (differ, "of another shape")]
    faults = [f"{len(keys)} {how} ({_some(keys)})" for keys, how in kinds if keys]
    if faults:
        raise FormatError(f"weights of {what} do not fit: {'; '.join(faults)}")
    network.load_state_dict(dict(state))
    # Evaluation mode is entered after the weights are in: some networks precompute tables from them.
    network.eval().requires_grad_(False)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
