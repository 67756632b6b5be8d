"""Filming: every pixel's ray at the time its row is exposed, the nearest surface, its colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trackime.arrays import Float64
from trackime.worlds.bodies._camera import Camera
from trackime.worlds.bodies._gaits import Gait
from trackime.worlds.bodies._looks import Coat, Picture
from trackime.worlds.bodies._skin import Skin

_BLURRED = 3
"""Rays of a pixel in a blurred exposure: one in its middle, where the truth is, others spread over it."""
_INSTANTS = 8
"""Moments of an exposure that rays are spread over, each pixel's at random, so that blur has no steps."""
_FAR = 200.0


@dataclass(frozen=True, eq=False)
class Scenery:
    """The static surroundings: ground at z = 0 and an upright wall, both infinite; the light.

    Attributes:
        ground, wall: their pictures; ground_scale, wall_scale: images per unit of length.
        ahead: [3], horizontal; the wall is where points have the product `distance` with it.
        light: [3], where it comes from; ambient: of it from everywhere; shadow: darkness below bodies.
    """

    ground: Picture
    ground_scale: float
    wall: Picture
    wall_scale: float
    ahead: Tensor
    distance: float
    light: Tensor
    ambient: float
    shadow: float

    def hit(self, eye: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
        """Distance [M] along rays [M, 3], and whether [M] it is the ground (else the wall, or the sky at `_FAR`)."""
        down = torch.where(ray[:, 2] < -1e-4, -eye[:, 2] / ray[:, 2], torch.full_like(ray[:, 2], _FAR))
        forward = ray @ self.ahead
        wall = torch.where(forward > 1e-4, (self.distance - eye @ self.ahead) / forward, torch.full_like(forward, _FAR))
        wall = torch.where(wall > 0, wall, torch.full_like(wall, _FAR)).clamp(max=_FAR)
        return torch.minimum(down, wall).clamp(max=_FAR), down < wall

    def colours(self, point: Tensor, on_ground: Tensor, footprint: Tensor) -> Tensor:
        """[M, 3] at points [M, 3]; footprint [M], a pixel's size there."""
        across = torch.stack([self.ahead[1], -self.ahead[0], torch.zeros(())])
        wall = torch.stack([point @ across, -point[:, 2]], 1) * self.wall_scale
        out = torch.empty_like(point)
        out[on_ground] = self.ground.at(
            point[on_ground][:, :2] * self.ground_scale, (footprint * self.ground_scale)[on_ground]
        )
        out[~on_ground] = self.wall.at(wall[~on_ground], (footprint * self.wall_scale)[~on_ground])
        return out


@dataclass(frozen=True, eq=False)
class Shot:
    """Everything that is filmed.

    Attributes:
        bodies: their motion and coats; the first `instances` are bodies, what follows (grass) belongs to nothing.
        camera, scenery: see there.
        frames: T.
        shutter: share of a frame's time that is exposed.
        readout: share of a frame's time between its first and last row.
    """

    bodies: list[tuple[Gait, Coat]]
    camera: Camera
    scenery: Scenery
    frames: int
    instances: int
    shutter: float
    readout: float

    def moment(self, y: Float64 | np.ndarray) -> np.ndarray:
        """When the row of y pixels is exposed, in frames from the frame's own time."""
        return np.asarray(self.readout * (np.asarray(y) / self.camera.height - 0.5))


@dataclass(frozen=True, eq=False)
class Film:
    """Frames, and what the ray of each pixel centre in the middle of its exposure meets.

    Attributes:
        frames: float32 [T, 3, H, W].
        masks, parts: uint8 [T, H, W]; `owner`: uint8, as masks but what belongs to nothing has numbers, too.
        depth: float32 [T, H, W].
        point: float32 [T, H, W, 3] in the world.
    """

    frames: Tensor
    masks: Tensor
    parts: Tensor
    owner: Tensor
    depth: Tensor
    point: Tensor


def film(shot: Shot) -> Film:
    """The frames of a shot."""
    blurred = shot.shutter > 0
    middle = _expose(shot, None)
    if not blurred:
        return middle
    total = middle.frames
    for number in range(1, _BLURRED):
        total = total + _expose(shot, number).frames
    return Film(total / _BLURRED, middle.masks, middle.parts, middle.owner, middle.depth, middle.point)


def _expose(shot: Shot, number: int | None) -> Film:
    """All frames: in the middle of their exposure (None), or at each pixel's own instants of it."""
    camera, scenery, count = shot.camera, shot.scenery, shot.frames
    h, w = camera.height, camera.width
    rows = np.arange(h) + 0.5
    # One time per frame, or one per row of a frame where rows are read one after the other.
    moments = shot.moment(rows) if shot.readout > 0 else np.zeros(1)
    spread = np.zeros(1) if number is None else shot.shutter * ((np.arange(_INSTANTS) + 0.5) / _INSTANTS - 0.5)
    times = (np.arange(count)[:, None, None] + moments[:, None] + spread).reshape(-1)
    rotation, eye = (torch.from_numpy(part.astype(np.float32)) for part in camera.pose(times))
    f, y, x = torch.meshgrid(torch.arange(count), torch.arange(h), torch.arange(w), indexing="ij")
    when = f * len(moments) + (y if shot.readout > 0 else 0)
    if number is not None:
        # The first ray of a pixel at a random instant, the second half an exposure from it.
        lots = torch.randint(_INSTANTS, when.shape, generator=torch.Generator().manual_seed(0))
        when = when * _INSTANTS + (lots + (number - 1) * _INSTANTS // (_BLURRED - 1)) % _INSTANTS
    when = when.reshape(-1)
    xy = torch.stack([x.reshape(-1) + 0.5, y.reshape(-1) + 0.5], 1)
    origin, ray = eye[when], camera.rays(xy, rotation[when])
    nearest, on_ground = scenery.hit(origin, ray)
    owner = torch.zeros(len(when), dtype=torch.uint8)
    skins = []
    for number, (gait, _) in enumerate(shot.bodies, 1):
        skin = Skin.of(gait, times)
        skins.append(skin)
        chosen = _candidates(skin, camera, rotation, eye, when, xy)
        found = skin.hit(origin[chosen], ray[chosen], when[chosen], nearest[chosen])
        closer = found < nearest[chosen]
        nearest[chosen[closer]] = found[closer]
        owner[chosen[closer]] = number
    point = origin + nearest[:, None] * ray
    footprint = nearest / camera.focal
    colour, parts = torch.empty(len(when), 3), torch.zeros(len(when), dtype=torch.uint8)
    ground = owner == 0
    colour[ground] = _scene_colours(shot, skins, point[ground], on_ground[ground], footprint[ground], when[ground])
    for number, (_, coat) in enumerate(shot.bodies, 1):
        here = torch.nonzero(owner == number)[:, 0]
        surface = skins[number - 1].at(point[here], when[here])
        lit = scenery.ambient + (1 - scenery.ambient) * (surface.normal @ scenery.light).clamp(min=0)
        colour[here] = coat.colours(surface, footprint[here]) * lit[:, None]
        parts[here] = surface.weights.argmax(-1).to(torch.uint8) + 1
    depth = (ray * rotation[when][:, :, 2]).sum(-1) * nearest
    masks = torch.where(owner > shot.instances, torch.zeros_like(owner), owner)
    parts = torch.where(masks > 0, parts, torch.zeros_like(parts))
    return Film(
        colour.reshape(count, h, w, 3).permute(0, 3, 1, 2), masks.reshape(count, h, w), parts.reshape(count, h, w),
        owner.reshape(count, h, w), depth.reshape(count, h, w), point.reshape(count, h, w, 3),
    )  # fmt: skip


def _candidates(skin: Skin, camera: Camera, rotation: Tensor, eye: Tensor, when: Tensor, xy: Tensor) -> Tensor:
    """Rays that may meet a body: those in the box around it, int64 [M]."""
    centre, reach = skin.spheres()
    local = torch.einsum("sji,spj->spi", rotation, centre - eye[:, None])
    z = local[..., 2]
    half = camera.focal * reach / (z - reach).clamp(min=0.05)
    middle = local[..., :2] / z.clamp(min=0.05)[..., None] * camera.focal
    middle = middle + middle.new_tensor([camera.width / 2, camera.height / 2])
    ahead = z > -reach
    low = torch.where(ahead[..., None], middle - half[..., None], torch.full_like(middle, torch.inf)).amin(1)
    high = torch.where(ahead[..., None], middle + half[..., None], torch.full_like(middle, -torch.inf)).amax(1)
    inside = ((xy >= low[when]) & (xy <= high[when])).all(-1)
    return torch.nonzero(inside)[:, 0]


def _scene_colours(
    shot: Shot, skins: list[Skin], point: Tensor, on_ground: Tensor, footprint: Tensor, when: Tensor
) -> Tensor:
    """Ground and wall, the ground darkened below bodies."""
    scenery = shot.scenery
    colours = scenery.colours(point, on_ground, footprint)
    rows = torch.nonzero(on_ground)[:, 0]
    if scenery.shadow > 0 and len(rows):
        dark = torch.zeros(len(rows))
        for skin in skins[: shot.instances]:
            centre, reach = skin.spheres()
            # Along the light onto the ground.
            foot = centre[..., :2] - scenery.light[:2] / scenery.light[2].clamp(min=0.3) * centre[..., 2:]
            for chunk in torch.arange(len(rows)).split(1 << 15):
                away = (point[rows[chunk], None, :2] - foot[when[rows[chunk]]]).norm(dim=-1)
                cover = torch.exp(-((away / reach) ** 2))
                dark[chunk] = torch.maximum(dark[chunk], cover.amax(1))
        colours[rows] *= (1 - scenery.shadow * dark)[:, None]
    return colours
