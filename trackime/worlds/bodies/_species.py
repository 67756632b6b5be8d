"""Skeletons: bones in their rest pose, which hang on one another, and how each takes part in a gait.

Body coordinates: x forward, y to the left, z up, the ground at z = 0; lengths in units of about a body's height.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from trackime.arrays import Float64, Int64


@dataclass
class Skeleton:
    """Bones of a body in its rest pose.

    Attributes:
        start, end: [P, 3] of each bone's axis.
        radius: [P, 2] at start and end.
        flat: [P, 3] factors on the cross-section along x, y, z.
        parent: [P], -1 for the root; a parent comes before its children.
        role: what moves it: "" none, "leg", "knee", "foot", "spine", "neck", "head", "tail", "wing", "arm", "elbow",
            "finger", "wheel", "ear".
        phase: [P] of its limb in a gait, 0 .. 1.
        blend: length over which bones melt into each other.
        gaits: names of the gaits it has.
    """

    start: list[Float64] = field(default_factory=list)
    end: list[Float64] = field(default_factory=list)
    radius: list[tuple[float, float]] = field(default_factory=list)
    flat: list[tuple[float, float, float]] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    role: list[str] = field(default_factory=list)
    phase: list[float] = field(default_factory=list)
    blend: float = 0.04
    gaits: tuple[str, ...] = ("walk", "trot", "gallop", "jump")

    def add(
        self,
        parent: int,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        radius: tuple[float, float],
        role: str = "",
        phase: float = 0.0,
        flat: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> int:
        """Add a bone; its number."""
        self.start.append(np.array(start, np.float64))
        self.end.append(np.array(end, np.float64))
        self.radius.append(radius)
        self.flat.append(flat)
        self.parent.append(parent)
        self.role.append(role)
        self.phase.append(phase)
        return len(self.start) - 1

    def parents(self) -> Int64:
        """int64 [P]."""
        return np.array(self.parent, np.int64)


def quadruped(rng: Generator) -> Skeleton:
    """A four-legged animal of random proportions, from dachshund to giraffe."""
    s = Skeleton(blend=float(rng.uniform(0.03, 0.06)))
    hip, trunk, fat = rng.uniform(0.45, 0.9), rng.uniform(0.8, 1.2), rng.uniform(0.7, 1.25)
    neck, up = rng.uniform(0.2, 0.65), rng.uniform(0.3, 1.3)
    r = 0.17 * fat
    mid = trunk / 2
    a = s.add(-1, (0, 0, hip), (mid, 0, hip), (r, 0.95 * r), "spine", flat=(1, 0.85, 1))
    b = s.add(a, (mid, 0, hip), (trunk, 0, hip + 0.02), (0.95 * r, 1.05 * r), "spine", 0.5, flat=(1, 0.85, 1.05))
    top = (trunk + neck * np.cos(up), 0, hip + 0.08 + neck * np.sin(up))
    n = s.add(b, (trunk + 0.02, 0, hip + 0.06), top, (0.6 * r, 0.42 * r), "neck")
    snout = rng.uniform(0.18, 0.36)
    h = s.add(n, top, (top[0] + snout, 0, top[2] - rng.uniform(0, 0.12)), (0.52 * r, 0.28 * r), "head")
    tall = rng.uniform(0.05, 0.2)
    for y in (-1, 1):
        base = (top[0] - 0.01, 0.3 * r * y, top[2] + 0.4 * r)
        s.add(h, base, (base[0] - 0.02, base[1] * 1.6, base[2] + tall), (0.05, 0.02), "ear", flat=(0.5, 1, 1))
    length, droop = rng.uniform(0.1, 0.6), rng.uniform(-0.6, 0.9)
    t = s.add(a, (-0.03, 0, hip + 0.04), (-0.03 - length / 2, 0, hip + 0.04 - droop * length / 2), (0.05, 0.04), "tail")
    end = s.end[t]
    tip = (end[0] - length / 2, 0.0, end[2] - droop * length / 2)
    s.add(t, tuple(end), tip, (0.04, 0.02), "tail", 0.2)
    thick, beside = 0.5 * r * rng.uniform(0.7, 1.1), 0.55 * r
    for x, body, fore in ((0.06, a, False), (trunk - 0.06, b, True)):
        for side in (-1, 1):
            phase = (0.25 if fore else 0.0) + (0.5 if side > 0 else 0.0)
            knee = (x + (-0.02 if fore else 0.06), beside * side, 0.52 * hip)
            ankle = (x + (0.0 if fore else -0.05), beside * side, 0.14 * hip)
            upper = s.add(body, (x, beside * side, hip - 0.2 * r), knee, (1.1 * thick, 0.62 * thick), "leg", phase)
            lower = s.add(upper, knee, ankle, (0.6 * thick, 0.38 * thick), "knee", phase)
            s.add(lower, ankle, (ankle[0] + 0.09, beside * side, 0.03), (0.4 * thick, 0.3 * thick), "foot", phase)
    return s


def biped(rng: Generator) -> Skeleton:
    """A person or an ape."""
    s = Skeleton(blend=float(rng.uniform(0.02, 0.04)), gaits=("walk", "run", "jump"))
    leg, torso, fat = rng.uniform(0.4, 0.55), rng.uniform(0.28, 0.4), rng.uniform(0.8, 1.3)
    r = 0.085 * fat
    a = s.add(-1, (0, 0, leg), (0, 0, leg + torso / 2), (1.1 * r, r), "spine", flat=(0.8, 1.2, 1))
    b = s.add(a, (0, 0, leg + torso / 2), (0.01, 0, leg + torso), (r, 1.15 * r), "spine", 0.5, flat=(0.8, 1.3, 1))
    n = s.add(b, (0.01, 0, leg + torso), (0.02, 0, leg + torso + 0.09), (0.5 * r, 0.5 * r), "neck")
    size = rng.uniform(0.07, 0.1)
    s.add(
        n, (0.02, 0, leg + torso + 0.12), (0.04, 0, leg + torso + 0.17), (size, 0.9 * size), "head", flat=(1, 0.85, 1)
    )
    thin = 0.5 * r
    for side in (-1, 1):
        phase = 0.5 if side > 0 else 0.0
        y, shoulder = side * 1.5 * r, leg + torso - 0.03
        upper = s.add(b, (0, y, shoulder), (-0.01, 1.25 * y, shoulder - 0.17), (thin, 0.8 * thin), "arm", phase + 0.5)
        lower = s.add(upper, (-0.01, 1.25 * y, shoulder - 0.17), (0.02, 1.3 * y, shoulder - 0.32),
                      (0.8 * thin, 0.6 * thin), "elbow", phase + 0.5)  # fmt: skip
        s.add(lower, (0.02, 1.3 * y, shoulder - 0.34), (0.04, 1.3 * y, shoulder - 0.4), (0.6 * thin, 0.5 * thin), "")
        y = side * 0.75 * r
        thigh = s.add(a, (0, y, leg - 0.02), (0.01, y, 0.52 * leg), (0.85 * r, 0.6 * r), "leg", phase)
        shin = s.add(thigh, (0.01, y, 0.52 * leg), (-0.01, y, 0.06), (0.58 * r, 0.4 * r), "knee", phase)
        s.add(shin, (-0.01, y, 0.03), (0.11, y, 0.025), (0.4 * r, 0.33 * r), "foot", phase)
    return s


def bird(rng: Generator) -> Skeleton:
    """A bird, on its feet or flying."""
    s = Skeleton(blend=float(rng.uniform(0.02, 0.05)), gaits=("fly", "walk", "fly"))
    leg, size, neck = rng.uniform(0.2, 0.55), rng.uniform(0.13, 0.2), rng.uniform(0.1, 0.4)
    z = leg + size
    a = s.add(-1, (-0.15, 0, z), (0.18, 0, z + 0.05), (0.8 * size, size), "spine")
    top = (0.28, 0, z + 0.1 + neck)
    n = s.add(a, (0.22, 0, z + 0.1), top, (0.5 * size, 0.35 * size), "neck")
    h = s.add(n, top, (0.33, 0, top[2] + 0.02), (0.42 * size, 0.36 * size), "head")
    s.add(h, (0.38, 0, top[2]), (0.38 + rng.uniform(0.06, 0.2), 0, top[2] - 0.03), (0.045, 0.015), "")
    s.add(a, (-0.2, 0, z), (-0.5, 0, z - 0.02), (0.4 * size, 0.5 * size), "tail", flat=(1, 1.3, 0.25))
    span = rng.uniform(0.25, 0.5)
    for side in (-1, 1):
        inner = (0.0, side * (0.7 * size + span), z + 0.1)
        w = s.add(a, (0.05, side * 0.7 * size, z + 0.08), inner, (0.13, 0.13), "wing", 0.0, (1.2, 1, 0.22))
        s.add(w, inner, (-0.1, side * (0.7 * size + 2 * span), z + 0.1), (0.12, 0.05), "wing", 0.15, (1.2, 1, 0.2))
        y, phase = side * 0.5 * size, 0.5 if side > 0 else 0.0
        thigh = s.add(a, (0.0, y, leg + 0.3 * size), (0.03, y, 0.5 * leg), (0.05, 0.03), "leg", phase)
        shin = s.add(thigh, (0.03, y, 0.5 * leg), (0.0, y, 0.03), (0.028, 0.022), "knee", phase)
        s.add(shin, (0.0, y, 0.02), (0.1, y, 0.015), (0.025, 0.02), "foot", phase)
    return s


def hand(rng: Generator) -> Skeleton:
    """A hand with look-alike fingers."""
    s = Skeleton(blend=float(rng.uniform(0.015, 0.03)), gaits=("grasp",))
    palm = s.add(-1, (0, 0, 0.5), (0.3, 0, 0.5), (0.16, 0.17), "spine", flat=(1, 1, 0.45))
    s.add(palm, (-0.4, 0, 0.5), (0, 0, 0.5), (0.11, 0.1), "", flat=(1, 1, 0.75))
    for k in range(5):
        thumb = k == 0
        y = 0.17 if thumb else 0.12 - 0.075 * (k - 1)
        x = 0.08 if thumb else 0.36
        length = rng.uniform(0.1, 0.13) * (0.95 if thumb else (1.0, 1.12, 1.05, 0.85)[k - 1])
        direction = np.array([0.6, 0.8, 0.0]) if thumb else np.array([1.0, 0.08 * (2.2 - k), 0.0])
        at, parent = np.array([x, y, 0.5]), palm
        for joint in range(3):
            end = at + direction * length * (1 - 0.15 * joint)
            r = 0.043 - 0.005 * joint
            parent = s.add(parent, tuple(at), tuple(end), (r, r - 0.004), "finger", 0.12 * k + 0.05 * joint)
            at = end
    return s


def vehicle(rng: Generator) -> Skeleton:
    """A car or a truck on four wheels."""
    s = Skeleton(blend=0.008, gaits=("drive",))
    length, wheel = rng.uniform(0.7, 1.2), rng.uniform(0.11, 0.17)
    a = s.add(-1, (0, 0, 1.6 * wheel), (length, 0, 1.6 * wheel), (0.19, 0.17), "", flat=(1, 1.35, 0.75))
    back = rng.uniform(0.05, 0.3) * length
    s.add(
        a, (back, 0, 3.0 * wheel), (rng.uniform(0.55, 0.8) * length, 0, 3.0 * wheel), (0.16, 0.15), "", flat=(1, 1.3, 1)
    )
    for x in (0.12 * length, 0.86 * length):
        for side in (-1, 1):
            at = (x, side * 0.25, wheel)
            s.add(a, at, (x, side * 0.25 + 1e-3, wheel), (wheel, wheel), "wheel", flat=(1, 0.35, 1))
    return s


SPECIES = {"quadruped": quadruped, "biped": biped, "bird": bird, "hand": hand, "vehicle": vehicle}
SHARES = (0.45, 0.2, 0.13, 0.12, 0.1)
"""Share of each species, in the same order."""
