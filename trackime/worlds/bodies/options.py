"""Options of `make_bodies`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from trackime.errors import InputError


@dataclass(frozen=True)
class BodyOptions:
    """Shares and amounts; zero switches an effect off.

    Attributes:
        companions: share of clips with a second body, and of those again with a third.
        plain: share of bodies with a coat of one colour and little texture.
        grass: share of clips with blades in front of the feet.
        motion_blur: share of clips that are blurred, by the exposure's own path.
        rolling_shutter: share of clips whose rows are read one after the other.
        pan: share of clips whose camera follows the body.
        speed: of gaits and paths, 1 the middle of what animals do.
        defocus, noise, light, compression: as `BatchOptions`.

    Raises:
        InputError: a value outside 0 .. 1, a speed not above 0.
    """

    companions: float = 0.3
    plain: float = 0.35
    grass: float = 0.4
    motion_blur: float = 0.5
    rolling_shutter: float = 0.2
    pan: float = 0.7
    speed: float = 1.0
    defocus: float = 0.2
    noise: float = 0.03
    light: float = 0.15
    compression: float = 0.4

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "speed":
                if not value > 0:
                    raise InputError(f"speed: expected above 0, got {value:g}")
            elif not 0 <= value <= 1:
                raise InputError(f"{item.name}: expected 0 .. 1, got {value:g}")
