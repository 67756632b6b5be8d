"""Options of `make_scene`."""

from __future__ import annotations

from dataclasses import dataclass

from trackime.errors import InputError, UnknownNameError
from trackime.worlds._options import Options

PATHS = ("wander", "orbit", "dolly", "static", "rotation")
"""Camera paths: hand-held wander, arc about the middle, forwards, static, rotation on the spot."""


@dataclass(frozen=True)
class SceneOptions(Options):
    """Appearance and motion of a 3D scene. A room is about 3 units high; most surfaces are 1.5 to 8 units away.

    Attributes:
        path: how the camera moves: wander, orbit, dolly, static or rotation.
        cut: two scenes joined in the middle of the video.
        fov: horizontal field of view in degrees.
        camera: strength of the camera's motion; 0 holds it still.
        speed: units per frame of the moving objects, roughly; 0 keeps them from translating.
        turn: largest rotation to either side of the moving objects in degrees.
        relief: height fields, 0 to 3: one on the floor, one on the back wall, one on the left wall.
        low_texture: share of objects nearly without texture.
        shadows: objects cast shadows. Those of moving objects move over static surfaces.
        light: share of the brightness that comes from the lamp; 0 is flat, constant colour.
        noise: standard deviation of the sensor noise, white is 1; it does not move with the scene.
        samples: rays per pixel along each axis where surfaces meet; 1 for jagged edges.
        fps: frames per second.
    """

    _MAKER = "make_scene"

    path: str = "wander"
    cut: bool = False
    fov: float = 60.0
    camera: float = 1.0
    speed: float = 0.03
    turn: float = 60.0
    relief: int = 2
    low_texture: float = 0.0
    shadows: bool = True
    light: float = 0.6
    noise: float = 0.01
    samples: int = 3
    fps: float = 25.0

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise UnknownNameError("camera path", str(self.path), PATHS)
        for name in ("cut", "shadows"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name}: expected True or False, got {getattr(self, name)!r}")
        for name, low, high in (("relief", 0, 3), ("samples", 1, 16)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InputError(f"{name}: expected a whole number of {low} to {high}, got {value!r}")
        self.check(5, 130, "fov")
        self.check(0, 1.5, "camera")
        self.check(0, 0.5, "speed")
        self.check(0, 3600, "turn")
        self.check(0, 1, "low_texture", "light", "noise")
        self.check(1e-3, 1e5, "fps")
