"""Weights that are in the package, and what their files must be."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trackime.errors import FormatError, UnknownNameError

SHA256 = {
    "trackime-s": "d29d0f0ee026bd08a34b34c32021ff743bcae9047c7bafbb32bf6a1089b04878",
}
"""Digests by tracker."""

FOLDER = Path(__file__).parent


def shipped(name: str) -> Path:
    """The file of a tracker's weights, its bytes checked.

    Raises:
        UnknownNameError: no weights of that name are in the package.
        FormatError: the file is missing, or not the one that was shipped.
    """
    if name not in SHA256:
        raise UnknownNameError("weights", name, SHA256)
    file = FOLDER / f"{name}.safetensors"
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise FormatError(f"{name}: {file}: {error.strerror or error}: install trackime again") from None
    if digest != SHA256[name]:
        raise FormatError(
            f"{name}: {file} is not the file that was shipped: expected sha256 {SHA256[name]}, got {digest}: "
            "install trackime again"
        )
    return file
