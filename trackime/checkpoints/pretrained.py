"""Networks of transformers from a folder on this machine.

The folder holds ``config.json`` and ``model.safetensors`` (or shards with their index), as models are published on the
Hugging Face Hub. Nothing is fetched, and pickles are not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trackime.errors import FormatError, InputError, MissingExtraError

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def network_class(name: str, network: str) -> Any:
    """The class called `network` in transformers, imported now. MissingExtraError where there is none."""
    try:
        import transformers

        return getattr(transformers, network)
    except (ImportError, AttributeError) as error:
        raise MissingExtraError(f"{name} (transformers with {network})", "models") from error


def check_folder(name: str, folder: Path, types: Sequence[str]) -> dict[str, Any]:
    """The folder's configuration, checked before transformers reads it.

    Args:
        name: name of the model in messages.
        folder: its folder.
        types: the kinds of model, as config.json calls them, that are allowed.

    Raises:
        InputError: no such folder.
        FormatError: no weights in it, no configuration, or one of another kind of model.
    """
    if not folder.is_dir():
        found = f"the file {folder}" if folder.exists() else f"no {folder}"
        raise InputError(f"{name}: expected a folder with config.json and {_WEIGHTS[0]}, found {found}")
    if not any((folder / file).is_file() for file in _WEIGHTS):
        raise FormatError(f"{name}: expected {_WEIGHTS[0]} in {folder}, found none")
    config = read_json(name, folder, "config.json")
    kind = config.get("model_type")
    if kind not in types:
        raise FormatError(f"{name}: expected a model of type {' or '.join(types)} in {folder}, found {kind}")
    return config


def read_json(name: str, folder: Path, file: str) -> dict[str, Any]:
    """An object of a JSON file of the folder. FormatError where there is none."""
    try:
        read = json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{name}: expected a {file} in {folder}: {_one_line(error)}") from None
    return read if isinstance(read, dict) else {}


def load_network(name: str, kind: Any, folder: Path, attention: str | dict[str, str] = "sdpa") -> Any:
    """The network of class `kind` with the folder's weights, float32, on the CPU.

    Args:
        name: name of the model in messages.
        kind: from `network_class`.
        folder: checked by `check_folder`.
        attention: implementation, or one for each part; explicit, because a configuration may otherwise request
            kernels from the Hub.

    Raises:
        FormatError: weights that are damaged, incomplete or of other shapes.
    """
    import torch

    with _quiet():
        try:
            network, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation=attention,
                output_loading_info=True,
            )
        except Exception as error:  # transformers raises all kinds of errors on a broken folder
            raise FormatError(f"{name}: {folder} cannot be loaded: {_one_line(error)}") from error
    for what in ("missing_keys", "mismatched_keys"):
        if report.get(what):
            some = ", ".join(sorted(str(key) for key in report[what])[:4])
            raise FormatError(f"weights of {name} do not fit: {len(report[what])} {what.replace('_', ' ')} ({some})")
    return network


def _one_line(error: Exception) -> str:
    """An error of another library for a message."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no advice from transformers while a network is loaded."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
