"""The source of initial depth: a network, a folder of maps, or, without either, parallax."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trackime.errors import InputError
from trackime.progress import Report, silent
from trackime.types import VideoInfo

if TYPE_CHECKING:
    from trackime.video import Video

    from ..initial_depth import DepthMaps


@dataclass(frozen=True)
class Source:
    """Neither a model nor a folder: parallax alone.

    Attributes:
        model: a name of `models.names()`, or a model's folder.
        folder: of depth maps.
        kind: what they are: depth, disparity or metric; None: that of their sidecar, else depth.
        scale: factor of their values; None: that of their sidecar, else 1.
        files: of the folder, one per frame of the video, once `matched`.

    Raises:
        InputError: both a model and a folder, or a kind or scale without a folder.
    """

    model: str | None = None
    folder: Path | None = None
    kind: str | None = None
    scale: float | None = None
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.model is not None and self.folder is not None:
            raise InputError("--depth-model and --depth-folder exclude each other: expected one of them")
        if self.folder is None and (self.kind is not None or self.scale is not None):
            raise InputError("--depth-kind and --depth-scale go with --depth-folder: expected one")

    @property
    def parallax(self) -> bool:
        """Nothing but the video is needed."""
        return self.model is None and self.folder is None

    def matched(self, info: VideoInfo) -> tuple[Source, bool]:
        """The source with its files for a video resolved, before any work on it; and whether it gives disparity.

        Raises:
            InputError, FormatError, MissingExtraError, UnknownNameError, DownloadError: no such model, or without
                what it needs; no map for some frame, or options that do not go with the maps.
        """
        if self.model is not None:
            from .models import gives_disparity

            return self, gives_disparity(self.model)
        if self.folder is None:
            return self, False
        from ._folder import choose

        chosen = choose(self.folder, info, self.kind, self.scale)
        return replace(self, files=tuple(chosen.files)), chosen.kind == "disparity"

    def part(self, start: int, stop: int) -> Source:
        """The source for frames start .. stop - 1."""
        return replace(self, files=self.files[start:stop])

    def maps(self, video: Video, kept: Path, device: str, report: Report = silent) -> DepthMaps:
        """A map of every frame of the model or folder, kept in the folder `kept`; those already there are reused."""
        if self.model is not None:
            from .models import estimate

            return estimate(video, kept, self.model, device=device, progress=report)
        from ._folder import take

        assert self.folder is not None
        return take(self.folder, video.info, kept, kind=self.kind, scale=self.scale, files=self.files, progress=report)
