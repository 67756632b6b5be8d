"""Rows of a registry of checkpoints for tests, and a model that loads one."""

from __future__ import annotations

import hashlib

from torch import nn

from tests.server import BODY
from trackime.checkpoints import Checkpoint, fill, read_weights
from trackime.checkpoints import store as models
from trackime.checkpoints.catalog import _APACHE, RemoteFile

SHA = hashlib.sha256(BODY).hexdigest()


def row(name: str, *files: RemoteFile, licence: str = _APACHE, shares: str = "") -> Checkpoint:
    page = "https://example.org"
    return Checkpoint(name, "tracker", name.title(), files, licence, page, page, "256x256", shares=shares)


def toy(path: str | None = None, device: str = "cpu") -> nn.Module:
    network = nn.Linear(3, 2)
    fill(network, read_weights(models.locate("one", path)), "one")
    return network
