"""Cameras and sparse points from parallax alone: structure from motion on trails."""

from .incremental import reconstruct as reconstruct
