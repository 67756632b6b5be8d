"""Options of `make_batch`."""

from __future__ import annotations

from dataclasses import dataclass

from trackime.errors import InputError
from trackime.worlds._options import Options


@dataclass(frozen=True)
class BatchOptions(Options):
    """Appearance and motion of training worlds. Shares are probabilities that a clip, object or point has a property.

    The defaults give the motion of real video: speeds of visible points with a median of about 2.5, a 90th percentile
    of 10 and a 99th of 28 pixels per frame at 256 x 256.

    Attributes:
        objects: least and most objects of a clip.
        speed: factor on every speed of objects and cameras; 0 stops all but turns, bends and zoom.
        camera: strength of the camera's pan, zoom, roll and tilt; 0 holds it still.
        shake: hand-held jitter in pixels at 256 x 256, in half of the clips; 0 for a tripod.
        strides: temporal strides drawn from, each as likely as the next; everything is that many times as fast.
        size: least and largest diameter of an object as a share of the shorter side.
        turn: largest rotation to either side in degrees over a clip.
        zoom: largest factor an object grows or shrinks by over a clip, 1 for none.
        occlusion: share of objects whose paths cross in front of another one and back.
        leaving: share of objects that may leave the frame and come back.
        jerky: share of objects that dash and stop.
        articulated: share of objects made of two or three linked parts.
        nonrigid: share of the other objects that bend.
        tilted: share of objects that turn out of the image plane a little.
        depth_swaps: share of clips in which objects change their depth order (never while they overlap).
        low_texture: share of objects nearly without texture.
        camouflage: share of objects with the background's own texture and colours.
        shadows: share of objects that cast a soft shadow.
        light: brightness drift of layers and frame, and uneven light, as a share; 0 for constant colours.
        motion_blur: share of clips with an open shutter.
        defocus: share of clips out of focus, and of layers.
        noise: largest standard deviation of the sensor noise, white is 1; every clip has its own.
        compression: share of clips that were compressed.
        on_objects: share of points on objects rather than the background.
        near_edges: share of those near an edge between objects.
        gaps: share of tracks that are hidden and come back, as far as the clips have any.
        long_gaps: share of tracks hidden for `LONG_GAP` frames or more that come back, as far as the clips have any.
    """

    objects: tuple[int, int] = (2, 10)
    speed: float = 1.0
    camera: float = 1.0
    shake: float = 0.4
    strides: tuple[int, ...] = (1, 2, 3, 4)
    size: tuple[float, float] = (0.12, 0.65)
    turn: float = 45.0
    zoom: float = 2.0
    occlusion: float = 0.6
    leaving: float = 0.25
    jerky: float = 0.2
    articulated: float = 0.3
    nonrigid: float = 0.5
    tilted: float = 0.3
    depth_swaps: float = 0.4
    low_texture: float = 0.3
    camouflage: float = 0.1
    shadows: float = 0.5
    light: float = 0.1
    motion_blur: float = 0.5
    defocus: float = 0.2
    noise: float = 0.03
    compression: float = 0.4
    on_objects: float = 0.7
    near_edges: float = 0.5
    gaps: float = 0.35
    long_gaps: float = 0.15

    def __post_init__(self) -> None:
        self.check(0, 1, *_SHARES)
        self.check(0, 100, "speed", "camera", "shake")
        self.check(0, 360, "turn")
        self.check(1, 4, "zoom")
        self.check(0, 0.5, "light")
        if self.long_gaps > self.gaps:
            raise InputError(f"long_gaps: expected at most gaps ({self.gaps:g}), got {self.long_gaps:g}")
        low, high = _pair("objects", self.objects)
        if int(low) != low or int(high) != high or not 0 <= low <= high <= 100:
            raise InputError(f"objects: expected (least, most) whole numbers of 0 to 100, got {self.objects!r}")
        low, high = _pair("size", self.size)
        if not 0 < low <= high <= 1.5:
            raise InputError(f"size: expected (least, largest) shares of the shorter side up to 1.5, got {self.size!r}")
        if not self.strides or any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in self.strides):
            raise InputError(f"strides: expected whole numbers of 1 or more, got {self.strides!r}")


_SHARES = (
    "occlusion",
    "leaving",
    "jerky",
    "articulated",
    "nonrigid",
    "tilted",
    "depth_swaps",
    "low_texture",
    "camouflage",
    "shadows",
    "motion_blur",
    "defocus",
    "noise",
    "compression",
    "on_objects",
    "near_edges",
    "gaps",
    "long_gaps",
)


def _pair(name: str, value: object) -> tuple[float, float]:
    if not isinstance(value, tuple | list) or len(value) != 2 or not all(isinstance(v, int | float) for v in value):
        raise InputError(f"{name}: expected two numbers, got {value!r}")
    return value[0], value[1]


LONG_GAP = 8
"""Frames a point must be hidden for its gap to be a long one."""
