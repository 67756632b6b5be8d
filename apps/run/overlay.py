"""Tracks and masks drawn over the frames they belong to.

A visible point is a filled disc, an occluded one a ring; behind it trails where it was in the last frames, fading.
Sizes follow the frame's. Points are drawn to 1/16 pixel; OpenCV puts pixel centres at integers, so that our
(x, y) is its (x - 0.5, y - 0.5).
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from trackime.arrays import Int32, IntArray, UInt8
from trackime.types import Tracks

_Colour = tuple[int, int, int]

_SHIFT = 4
"""Bits of OpenCV's sub-pixel positions."""
_TRAIL = 12
"""Frames a trail reaches back."""
_MOST_POINTS = 900
"""Tracks drawn at most: more hide the frame and show nothing new."""
_HUES = 24
_OBJECT_COLOURS: tuple[_Colour, ...] = (
    (255, 77, 77), (64, 196, 99), (66, 135, 245), (255, 193, 37), (186, 85, 255),
    (0, 206, 209), (255, 127, 39), (255, 105, 180), (154, 205, 50), (160, 120, 90),
)  # fmt: skip
_NO_OBJECT: _Colour = (235, 235, 235)


def _object_colour(identity: int) -> _Colour:
    """A bright colour of its own for every object id of 1 or more; near white for none."""
    if identity < 1:
        return _NO_OBJECT
    if identity <= len(_OBJECT_COLOURS):
        return _OBJECT_COLOURS[identity - 1]
    return _hsv(identity * 0.618034 % 1.0, 0.75, 1.0)


def _hsv(hue: float, saturation: float, value: float) -> _Colour:
    r, g, b = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(r * 255), round(g * 255), round(b * 255)


def _drawn(tracks: Tracks, most: int = _MOST_POINTS) -> Tracks:
    """The tracks worth drawing: at most `most`, spread evenly over frame, query time and instance."""
    if len(tracks) <= most:
        return tracks
    xy, info = tracks.queries.xy, tracks.video
    side = np.sqrt(info.width * info.height / most)
    while side < 2 * max(info.width, info.height):
        cells = np.column_stack([np.floor(xy / side), tracks.queries.t, tracks.instance])
        # Of each cell's points the one nearest its centre: a grid stays a grid.
        order = np.argsort(np.abs(xy / side - cells[:, :2] - 0.5).max(1), kind="stable")
        _, first = np.unique(cells[order], axis=0, return_index=True)
        if len(first) <= most:
            return tracks[np.sort(order[first])]
        side *= 1.1
    return tracks[np.linspace(0, len(tracks) - 1, most).astype(int)]  # more frames and instances than points


def _track_colours(tracks: Tracks, by_instance: bool) -> tuple[list[_Colour], IntArray]:
    """A palette, and int [N], each track's entry: by instance, or by the query's place in the frame.

    Place: hue along x, brightness along y, so that neighbours look alike and mixing shows motion.
    """
    if by_instance:
        ids = sorted(set(tracks.instance.tolist()))
        return [_object_colour(i) for i in ids], np.searchsorted(ids, tracks.instance)
    shades = ((0.55, 1.0), (0.8, 1.0), (1.0, 0.85))  # saturation and value, from the top of the frame down
    palette = [_hsv(0.86 * hue / _HUES, *shade) for shade in shades for hue in range(_HUES)]
    size = np.array([tracks.video.width, tracks.video.height])
    place = np.clip(tracks.queries.xy / size, 0, 1 - 1e-6)
    return palette, (place[:, 0] * _HUES).astype(int) + _HUES * (place[:, 1] * len(shades)).astype(int)


@dataclass
class TrackPainter:
    """Draws the tracks of one video, frame after frame.

    Attributes:
        tracks: what to draw; more than MOST_POINTS are thinned out.
        by_instance: a colour for each instance; else by place in the frame.
        trail: frames a trail reaches back; 0: no trails.
        scale: of the points' size.
        hidden: draw occluded points, too.
    """

    tracks: Tracks
    by_instance: bool = False
    trail: int = _TRAIL
    scale: float = 1.0
    hidden: bool = True
    radius: float = field(init=False)
    palette: list[_Colour] = field(init=False)
    entry: IntArray = field(init=False)

    def __post_init__(self) -> None:
        self.tracks = _drawn(self.tracks)
        info = self.tracks.video
        # A disc follows the resolution, and leaves the frame between the points to be seen.
        spacing = np.sqrt(info.width * info.height / max(1, len(self.tracks)))
        size = self.scale * (0.0025 * np.hypot(info.width, info.height) + 0.9)
        self.radius = float(np.clip(size, 1.0, max(1.2, 0.2 * spacing)))
        self.palette, self.entry = _track_colours(self.tracks, self.by_instance)
        far = 4 * np.array([info.width, info.height])  # OpenCV's fixed point is int32; nothing is drawn out there
        xy = np.clip(self.tracks.xy, -far, far + far)
        self._fixed = np.round((xy - 0.5) * (1 << _SHIFT)).astype(np.int32)  # [N, T, 2]

    def __call__(self, frame: UInt8, t: int) -> None:
        """Draw frame t's points and trails over `frame`, in place."""
        if not len(self.tracks):
            return
        self._trails(frame, t)
        self._points(frame, t)

    def _trails(self, frame: UInt8, t: int) -> None:
        """Blend the trails in: colours in one layer, their fading coverage in another."""
        first = max(0, t - self.trail)
        seen = self.tracks.visible[:, first : t + 1]
        steps = [(first + s, np.flatnonzero(seen[:, s] & seen[:, s + 1])) for s in range(t - first)]
        steps = [(s, rows) for s, rows in steps if len(rows)]
        if not steps:
            return
        colour, cover = np.zeros_like(frame), np.zeros(frame.shape[:2], np.uint8)
        width = max(1, round(0.45 * self.radius))
        for s, rows in steps:
            segments = self._fixed[rows, s : s + 2]
            alpha = round(200 * (1 - (t - s - 1) / (self.trail + 1)))
            cv2.polylines(cover, list(segments), False, alpha, width, cv2.LINE_AA, _SHIFT)
            for k in np.unique(self.entry[rows]):
                # Wider than the coverage, so that its soft edge has colour below it.
                mine = list(segments[self.entry[rows] == k])
                cv2.polylines(colour, mine, False, self.palette[k], width + 2, cv2.LINE_8, _SHIFT)
        _blend(frame, colour, cover)

    def _points(self, frame: UInt8, t: int) -> None:
        info, xy, visible = self.tracks.video, self.tracks.xy[:, t], self.tracks.visible[:, t]
        near = ((xy > -self.radius) & (xy < np.array([info.width, info.height]) + self.radius)).all(1)
        line = max(1, round(0.3 * self.radius))
        disc, rim = _circle(self.radius), _circle(self.radius + max(0.6, 0.25 * self.radius))
        # Rings first: what is seen lies above what is hidden.
        for n in np.flatnonzero(near & ~visible) if self.hidden else ():
            ring = [self._fixed[n, t] + disc]
            cv2.polylines(frame, ring, True, self.palette[self.entry[n]], line, cv2.LINE_AA, _SHIFT)
        for n in np.flatnonzero(near & visible):
            centre = self._fixed[n, t]
            cv2.fillConvexPoly(frame, centre + rim, (0, 0, 0), cv2.LINE_AA, _SHIFT)
            cv2.fillConvexPoly(frame, centre + disc, self.palette[self.entry[n]], cv2.LINE_AA, _SHIFT)


def _circle(radius: float, corners: int = 20) -> Int32:
    """A circle about 0 as a polygon in fixed point: cv2.circle makes a square of a small one."""
    angle = 2 * np.pi * np.arange(corners) / corners
    return np.round(radius * (1 << _SHIFT) * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.int32)


def _blend(frame: UInt8, colour: UInt8, cover: UInt8) -> None:
    """frame = frame + (colour - frame) * cover / 255, in place, where there is any cover.

    Args:
        frame: uint8 [H, W, 3].
        colour: uint8 [H, W, 3].
        cover: uint8 [H, W].
    """
    where = cover > 0
    alpha = cover[where][:, None].astype(np.float32) / 255
    below = frame[where].astype(np.float32)
    frame[where] = np.round(below + (colour[where] - below) * alpha).astype(np.uint8)


def _draw_masks(frame: UInt8, ids: UInt8, alpha: float = 0.4) -> None:
    """Tint objects and outline them, in place.

    Args:
        frame: uint8 [H, W, 3].
        ids: uint8 [H, W], 0 background, 255 void.
        alpha: strength of the tint.
    """
    present = [int(k) for k in np.unique(ids) if k not in (0, 255)]
    if not present:
        return
    table = np.zeros((256, 3), np.uint8)
    for k in present:
        table[k] = _object_colour(k)
    cover = np.where((ids > 0) & (ids < 255), np.uint8(round(255 * alpha)), np.uint8(0))
    _blend(frame, table[ids], cover)
    width = max(1, round(0.0016 * np.hypot(*ids.shape)))
    for k in present:
        mask = (ids == k).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        smooth = cv2.LINE_AA if width > 1 else cv2.LINE_8
        cv2.drawContours(frame, contours, -1, _object_colour(k), width, smooth)


def _draw_labels(frame: UInt8, ids: UInt8) -> None:
    """Write the id of every object of `ids` (uint8 [H, W]) on it, in place."""
    for k in np.unique(ids).tolist():
        if k not in (0, 255):
            _label(frame, (ids == k).astype(np.uint8), str(k))


def _label(frame: UInt8, mask: UInt8, text: str) -> None:
    """Write `text` where the mask is thickest, unless it is too small to hold it."""
    height = int(np.clip(0.035 * min(mask.shape), 9, 48))  # of the digits, pixels
    depth = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)
    _, thickest, _, (x, y) = cv2.minMaxLoc(depth)
    if thickest < 0.5 * height:
        return
    _write(frame, text, (x - 1, y - 1), height)


def _write(frame: UInt8, text: str, centre: tuple[int, int], height: int) -> None:
    """White text with a dark rim, `height` pixels high, centred, kept inside the frame; in place."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    thick = max(1, round(height / 9))
    scale = cv2.getFontScaleFromHeight(font, height, thick)
    (wide, high), _ = cv2.getTextSize(text, font, scale, thick)
    x = int(np.clip(centre[0] - wide // 2, 1, max(1, frame.shape[1] - wide - 1)))
    y = int(np.clip(centre[1] + high // 2, high + 1, max(high + 1, frame.shape[0] - 2)))
    rim = max(1, round(height / 12))  # by moved copies: OpenCV 5 sets type that no thickness widens
    for dx, dy in ((-rim, 0), (rim, 0), (0, -rim), (0, rim)):
        cv2.putText(frame, text, (x + dx, y + dy), font, scale, (0, 0, 0), thick, cv2.LINE_AA)
    cv2.putText(frame, text, (x, y), font, scale, (255, 255, 255), thick, cv2.LINE_AA)


def overlay_frames(
    chunks: Iterable[tuple[int, UInt8]],
    paint: TrackPainter | None = None,
    masks: Callable[[int], UInt8] | None = None,
) -> Iterator[tuple[int, UInt8]]:
    """Every frame with what is known of it drawn over: masks, the tracks above them, labels on top.

    Args:
        chunks: (t0, frames uint8 [n, H, W, 3]), as `Video.chunks` gives them.
        paint: draws the tracks, or None.
        masks: gives the ids uint8 [H, W] of a frame index, or None.

    Yields:
        (t, frame uint8 [H, W, 3]), a frame of the caller's own.
    """
    for t0, frames in chunks:
        for t, source in enumerate(frames, t0):
            frame = np.array(source)
            ids = None if masks is None else masks(t)
            if ids is not None:
                _draw_masks(frame, ids)
            if paint is not None:
                paint(frame, t)
            if ids is not None:
                _draw_labels(frame, ids)
            yield t, frame
