"""Options of `make_world`."""

from __future__ import annotations

from dataclasses import dataclass

from trackime.errors import InputError
from trackime.worlds._options import Options


@dataclass(frozen=True)
class WorldOptions(Options):
    """Appearance and motion of a world. Shares are probabilities that an object has the property.

    Attributes:
        speed: median pixels per frame of the objects, for a frame of 256 x 256 (it grows with the frame); log-normal,
            the 90th percentile is four times as much. 0 stops everything but warps and turns.
        camera: strength of the camera's pan, zoom, roll and tilt; 0 holds it still.
        shake: hand-held jitter in pixels at 256 x 256; 0 for a tripod.
        size: least and largest diameter of an object as a share of the shorter side.
        occlusion: share of objects whose paths cross another's.
        leaving: share of objects that may leave the frame and come back.
        nonrigid: share of objects that bend.
        jerky: share of objects that dash and stop.
        turn: largest rotation to either side in degrees over the clip.
        zoom: largest factor an object grows or shrinks by over the clip, 1 for none.
        depth_swaps: share of six occasions per clip on which two objects change their depth order (never while they
            overlap).
        low_texture: share of objects nearly without texture.
        camouflage: share of objects with the background's own texture and colours.
        shading: drift of each object's brightness and of the exposure, as a share; 0 for constant colours.
        noise: standard deviation of the sensor noise, white is 1.
        blur: share of the frame time the shutter is open; 0 for sharp frames.
        fps: frames per second.
    """

    _MAKER = "make_world"

    speed: float = 2.5
    camera: float = 1.0
    shake: float = 0.1
    size: tuple[float, float] = (0.15, 0.4)
    occlusion: float = 0.5
    leaving: float = 0.25
    nonrigid: float = 0.5
    jerky: float = 0.2
    turn: float = 45.0
    zoom: float = 2.0
    depth_swaps: float = 0.3
    low_texture: float = 0.2
    camouflage: float = 0.0
    shading: float = 0.05
    noise: float = 0.01
    blur: float = 0.0
    fps: float = 25.0

    def __post_init__(self) -> None:
        shares = ("occlusion", "leaving", "nonrigid", "jerky", "depth_swaps", "low_texture", "camouflage", "blur")
        self.check(0, 1, "noise", *shares)
        self.check(0, 0.5, "shading")
        self.check(0, 1000, "speed", "camera", "shake", "turn")
        self.check(1, 8, "zoom")
        self.check(1e-3, 1e5, "fps")
        low, high = self.size if isinstance(self.size, tuple | list) and len(self.size) == 2 else (0.0, 0.0)
        if not 0 < low <= high <= 2:
            raise InputError(f"size: expected (least, largest) shares of the shorter side up to 2, got {self.size!r}")
        object.__setattr__(self, "size", (float(low), float(high)))
