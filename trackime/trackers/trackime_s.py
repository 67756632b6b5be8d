"""The embedded tracker: a small network of our own, its weights in the package.

It looks both ways in time, at a window of frames together, and searches every frame whole (see
`trackime.trackers.networks.trackime_s`). A clip that fits in one window is followed in both directions at once. Longer
ones go window by window, once each way: queries keep the descriptors of their query frame, beside those of where they
were last seen, and the estimates in the frames that two windows share initialise the next one. `advance` returns these
frames again, re-estimated: frames with others after them are tracked better. Chunks are some windows long.

The network's positions are then refined on the pixels (`patches.refine_tracks`), which locate a point better.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trackime.checkpoints import fill, read_weights
from trackime.devices import resolve_device
from trackime.errors import FormatError
from trackime.files import atomic
from trackime.geometry import resize_frames, scale_points
from trackime.patches import PixelTemplates, cut_query_pixels, lab_images, refine_tracks, row_blocks
from trackime.trackers._options import Checkpoint, check_positive, check_size, factory
from trackime.trackers._windowed import WindowedTracker
from trackime.trackers.base import Features, check_frames, check_queries, query_frames
from trackime.trackers.networks import STRIDES, LastSeen, NetworkSize, QueriedPoints, TrackimeS, TrackimeSEstimate, unit
from trackime.trackers.weights import shipped

_NAME = "trackime-s"
_GRAIN = 16
"""Frames' sides are multiples of this many pixels."""
_WINDOWS = 5
"""Windows of a chunk: frames that two chunks share are encoded twice."""
_RECENT = 1.0
"""Weight of a point's recent appearance beside that of its query."""
_BLOCK = 32
"""Points are followed in multiples of this many, the last one repeated: in blocks of one size a point's result does
not depend on how many are followed with it. (What vector instructions leave over at the end of a row is computed
another way, and rounds differently: 32 floats are two vectors of the widest.)"""
_FORMAT = "trackime-s 1"
"""What the metadata of weights calls them."""


@dataclass(frozen=True)
class EmbeddedState:
    """Where `advance` left off.

    Attributes:
        t: the next frame's index.
        queries: [B, N, 3] as given.
        size: (h, w) of the frames.
        descriptors: a level: [B, N, C]; zeros until a point's frame was met.
        recent: a level: [B, N, C] mean descriptors where the point was last seen; zeros before.
        templates: [B, N, ...] the query frame's pixels, and their warp before the first of the last frames.
        last: where points were last seen, in pixels of the resized frames, and in which frame; at first their queries.
        tail: estimates in the last frames that were seen, as many as windows overlap; NaN where a point was not met.
    """

    t: int
    queries: Tensor
    size: tuple[int, int]
    descriptors: list[Tensor]
    recent: list[Tensor]
    templates: PixelTemplates
    last: LastSeen
    tail: TrackimeSEstimate | None = None


@dataclass(frozen=True)
class EmbeddedOptions:
    """Options of ``trackime-s``.

    Attributes:
        input_size: (h, w) frames are resized to, multiples of 16 of at least 32.
        query_chunk: points tracked at once: bounds memory (about 1 MB a point for 24 frames); None: 32 on a CPU, whose
            cache holds small blocks, 256 on others.
        iterations: refinements of a window; None: as many as the network was trained with.
        align: refine positions on the pixels; False: the network's own positions.

    Raises:
        InputError: one outside its range.
    """

    input_size: tuple[int, int] = (256, 256)
    query_chunk: int | None = None
    iterations: int | None = None
    align: bool = True

    def __post_init__(self) -> None:
        check_size(self.input_size, _GRAIN, 2 * _GRAIN)
        check_positive(query_chunk=self.query_chunk, iterations=self.iterations)


class EmbeddedTracker(WindowedTracker):
    """The network behind `PointTracker`; made by `trackime_s`.

    Args:
        network: with its weights.
        options: see `EmbeddedOptions`.
        device: cpu, cuda, cuda:N, mps or auto.

    Raises:
        InputError, DeviceError: no such device.
    """

    name = _NAME

    def __init__(
        self, network: TrackimeS, options: EmbeddedOptions = EmbeddedOptions(), device: str | torch.device = "cpu"
    ) -> None:
        self.device = resolve_device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.input_size: tuple[int, int] = (int(options.input_size[0]), int(options.input_size[1]))
        self.query_chunk = options.query_chunk or (_BLOCK if self.device.type == "cpu" else 256)
        self.iterations, self.align = options.iterations, options.align
        self.window, self.overlap = network.size.window, network.size.overlap
        self.max_frames: int = self.window + (_WINDOWS - 1) * (self.window - self.overlap)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Features:
        """Three levels of descriptors of each frame (2 MB a frame of 256 x 256), and its pixels (0.8 MB)."""
        check_frames(frames)
        b, t, _, h, w = frames.shape
        # On a CPU a frame at a time: rounding cannot depend on how many came together, and memory stays flat.
        flat, at_once = frames.flatten(0, 1), 1 if self.device.type == "cpu" else 16
        levels: list[list[Tensor]] = []
        images: list[Tensor] = []
        for part in flat.split(at_once):
            resized = resize_frames(part.to(self.device, torch.float32), self.input_size)
            levels.append(self.network.encode(resized))
            images.append(lab_images(resized) if self.align else resized[:, :, :0, :0])
        data = {f"level{i}": torch.cat([part[i] for part in levels]).unflatten(0, (b, t)) for i in range(len(STRIDES))}
        return Features(data | {"image": torch.cat(images).unflatten(0, (b, t))}, (h, w))

    @torch.no_grad()
    def open(self, queries: Tensor, size: tuple[int, int]) -> EmbeddedState:
        """See `PointTracker.open`."""
        check_queries(queries)
        queries = queries.to(self.device, torch.float32)
        blank = queries.new_zeros(*queries.shape[:2], self.network.size.dim)
        blanks = [blank] * len(STRIDES)
        templates = PixelTemplates.blank(tuple(queries.shape[:2]), queries)
        begun = LastSeen(scale_points(queries[..., :2], size, self.input_size), query_frames(queries))
        return EmbeddedState(0, queries, size, blanks, blanks, templates, begun)

    def follow_windows(
        self, state: EmbeddedState, features: Features, first: int, both: bool = False
    ) -> tuple[Tensor, Tensor, EmbeddedState]:
        """See `WindowedTracker.follow_windows`."""
        length, queries = features.frames, state.queries
        xy = queries[:, :, None, :2].repeat(1, 1, length, 1)
        visibility = xy.new_zeros(xy.shape[:3])
        for t0, t1, new in self.spans(state.t, first, length):
            estimate, seen, state = self._follow_window(state, features.window(t0, t1), first + t0, first + new, both)
            met = seen.isfinite()
            place = scale_points(estimate.xy, self.input_size, state.size)
            xy[:, :, t0:t1] = torch.where(met[..., None], place, xy[:, :, t0:t1])
            visibility[:, :, t0:t1] = torch.where(met, seen, 0.0)
        h, w = state.size
        inside = (xy >= 0).all(-1) & (xy <= xy.new_tensor([w, h])).all(-1)
        return xy, visibility * inside, state

    def _follow_window(
        self, state: EmbeddedState, window: Features, start: int, new: int, both: bool
    ) -> tuple[TrackimeSEstimate, Tensor, EmbeddedState]:
        """Estimates in a window that begins at frame `start`, whose frames from `new` on are new.

        Returns:
            The estimate, in pixels of the resized frames, and visibility [B, N, T]; NaN for points whose query frame
            lies after the window. And the new state.
        """
        b, n = state.queries.shape[:2]
        *maps, images = window.data.values()
        length = window.frames
        end, shared = start + length, max(0, length - self.overlap)
        place = scale_points(state.queries[..., :2], state.size, self.input_size)
        t = query_frames(state.queries)
        descriptors, recent = [d.clone() for d in state.descriptors], [d.clone() for d in state.recent]
        templates = state.templates.clone()
        blank = place.new_full((b, n, length), torch.nan)
        whole, seen = TrackimeSEstimate(blank[..., None].repeat(1, 1, 1, 2), blank, blank.clone()), blank.clone()
        for clip in range(b):
            levels = [level[clip] for level in maps]
            mine_t, begun = t[clip] - start, t[clip] < end
            fresh = begun & (t[clip] >= new)
            for rows in row_blocks(fresh, _BLOCK, _BLOCK):
                found = self.network.describe(levels, mine_t[rows], place[clip, rows])
                for mine, theirs in zip(descriptors, found, strict=True):
                    mine[clip, rows] = theirs
            for rows in row_blocks(begun, _BLOCK, self.query_chunk):
                alike = [
                    unit(own[clip, rows] + _RECENT * late[clip, rows])[None]
                    for own, late in zip(descriptors, recent, strict=True)
                ]
                points = QueriedPoints(place[clip, rows][None], mine_t[rows][None], alike)
                before = (
                    None if state.tail is None else TrackimeSEstimate(*(part[clip, rows][None] for part in state.tail))
                )
                last = LastSeen(state.last.xy[clip, rows][None], state.last.t[clip, rows][None] - start)
                result = self.network([level[None] for level in levels], points, before, self.iterations, last)
                estimate = result.estimates[-1]
                for mine, theirs in zip(whole, estimate, strict=True):
                    mine[clip, rows] = theirs[0]
                seen[clip, rows] = _probability(estimate, self.network.threshold)[0]
            if self.align:
                cut_query_pixels(images[clip], templates, clip, mine_t, place[clip], fresh)
                whole.xy[clip], warp = refine_tracks(
                    images[clip], templates.of(clip), mine_t, whole.xy[clip], shared, both
                )
                templates.warp[clip] = warp
            for rows in row_blocks(begun, _BLOCK):
                found = self._recent(levels, whole.xy[clip, rows], seen[clip, rows], shared)
                some = (seen[clip, rows, shared:] > 0.5).any(-1, keepdim=True)
                for mine, theirs in zip(recent, found, strict=True):
                    mine[clip, rows] = torch.where(some, theirs, mine[clip, rows])
        tail, last = (
            TrackimeSEstimate(*(part[:, :, shared:] for part in whole)),
            _last_seen(state.last, whole.xy, seen, start),
        )
        state = replace(state, t=end, descriptors=descriptors, recent=recent, templates=templates, last=last, tail=tail)
        return whole, seen, state

    def _recent(self, levels: list[Tensor], xy: Tensor, seen: Tensor, first: int) -> list[Tensor]:
        """Mean descriptors [N, C] a level in the frames from `first` on, of points [N, T, 2] where they are seen."""
        frames = torch.arange(first, xy.shape[1], device=xy.device).expand(len(xy), -1)
        weight = torch.where(seen > 0.5, seen, 0.0)[:, first:]
        found = self.network.describe(levels, frames, xy[:, first:])
        total = weight.sum(1, keepdim=True).clamp(min=1.0)
        return [(level * weight[..., None]).sum(1) / total for level in found]


def _last_seen(before: LastSeen, xy: Tensor, seen: Tensor, start: int) -> LastSeen:
    """Where points [B, N, T, 2] of a window that begins at frame `start` were last seen; NaN: not met."""
    frames = torch.arange(seen.shape[2], device=seen.device)
    t = torch.where(seen > 0.5, frames, -1).amax(-1)
    place = xy.gather(2, t.clamp(min=0)[..., None, None].expand(*t.shape, 1, 2))[:, :, 0]
    return LastSeen(torch.where((t >= 0)[..., None], place, before.xy), torch.where(t >= 0, t + start, before.t))


def _probability(estimate: TrackimeSEstimate, threshold: float = 0.5) -> Tensor:
    """Visibility in [0, 1]; above 0.5: seen, and where the position says.

    P(visible) x P(right), as TAPIR's (1 - occlusion) x (1 - expected distance), its logit shifted so that `threshold`
    comes to lie at 0.5.
    """
    both = torch.sigmoid(estimate.visibility) * torch.sigmoid(-estimate.error)
    return torch.sigmoid(torch.logit(both, eps=1e-6) - math.log(threshold / (1 - threshold)))


def _make(options: EmbeddedOptions, path: Checkpoint, device: torch.device) -> EmbeddedTracker:
    """From weights as `save_weights` writes them, of any size; None: those in the package."""
    return EmbeddedTracker(load_weights(shipped(_NAME) if path is None else Path(path)), options, device)


trackime_s = factory(EmbeddedOptions, _make)
"""The tracker ``trackime-s``."""


def load_weights(path: Path) -> TrackimeS:
    """The network of a weights file, as large as its metadata says.

    Raises:
        InputError: no such file.
        FormatError: not such weights.
    """
    state = read_weights(path)
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
    except (SafetensorError, OSError):
        about = {}
    if about.get("format") != _FORMAT:
        raise FormatError(f"weights {path}: expected weights of {_FORMAT!r}, found {about.get('format', 'others')!r}")
    try:
        size, threshold = NetworkSize(**json.loads(about["size"])), float(about.get("threshold", 0.5))
    except (LookupError, TypeError, ValueError) as error:
        raise FormatError(f"weights {path}: expected the network's size in the metadata: {error}") from None
    if not 0 < threshold < 1:
        raise FormatError(f"weights {path}: expected a threshold between 0 and 1, got {threshold:g}")
    network = TrackimeS(size)
    network.threshold = threshold
    fill(network, {name: t.float() for name, t in state.items()}, _NAME)
    return network


def save_weights(network: TrackimeS, path: Path) -> None:
    """Write weights in half precision, the network's size and threshold in the metadata. Raises OutputError."""
    state = {name: t.detach().to("cpu", torch.float16).contiguous() for name, t in network.state_dict().items()}
    with atomic(path) as temporary:
        about = {"format": _FORMAT, "size": json.dumps(asdict(network.size)), "threshold": str(network.threshold)}
        save_file(state, temporary, about)
        temporary.chmod(0o644)  # it is written for its owner alone
