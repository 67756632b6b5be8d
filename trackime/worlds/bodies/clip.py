"""`make_bodies`: a clip of articulated bodies with exact tracks, visibility, masks, depth and cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from trackime.arrays import Float64
from trackime.worlds._options import check_whole
from trackime.worlds.bodies._camera import Camera, make_camera
from trackime.worlds.bodies._film import Scenery, Shot, film
from trackime.worlds.bodies._gaits import Gait, make_gait
from trackime.worlds.bodies._looks import Coat, Picture, make_coat
from trackime.worlds.bodies._species import SHARES, SPECIES, Skeleton
from trackime.worlds.bodies._truth import choose, follow
from trackime.worlds.bodies.options import BodyOptions
from trackime.worlds.layers.batch import BatchOptions, TexturePool, default_pool, develop


@dataclass(frozen=True, eq=False)
class BodyClip:
    """A clip and what is true of it. Positions have the centre of the top-left pixel at (0.5, 0.5).

    Attributes:
        frames: float32 [T, 3, H, W] in [0, 1].
        xy: float32 [N, T, 2] pixels; true where hidden or out of the frame, too, up to two frames' sides away.
        visibility: float32 [N, T], 0 or 1.
        query_frame: int64 [N], any of the frames in which the point is visible.
        object: int64 [N], 0 the surroundings, k body k.
        masks: uint8 [T, H, W], the body at each pixel centre.
        parts: uint8 [T, H, W], the bone of largest weight there, counted from 1; 0 off the bodies.
        depth: float32 [T, H, W], z at the pixel centres.
        poses: float64 [T, 4, 4], camera-to-world at the frames' times; intrinsics float64 [3, 3].
    """

    frames: Tensor
    xy: Tensor
    visibility: Tensor
    query_frame: Tensor
    object: Tensor
    masks: Tensor
    parts: Tensor
    depth: Tensor
    poses: Float64
    intrinsics: Float64


@torch.no_grad()
def make_bodies(
    seed: int,
    frames: int,
    height: int,
    width: int,
    points: int,
    *,
    options: BodyOptions | None = None,
    pool: TexturePool | None = None,
) -> BodyClip:
    """One to three bodies on textured ground before a photograph, filmed; the same arguments give the same clip.

    Args:
        seed: 0 or more.
        frames: T, 1 or more.
        height: of the frames in pixels, 16 or more.
        width: likewise.
        points: N, 1 or more tracks.
        options: how bodies move and are filmed.
        pool: photographs and patterns; None: procedural ones.

    Raises:
        InputError: a value outside those.
    """
    check_whole(seed=(seed, 0), frames=(frames, 1), height=(height, 16), width=(width, 16), points=(points, 1))
    chosen, rng = options or BodyOptions(), np.random.default_rng([seed, 11])
    pool = pool or default_pool(torch.device("cpu"))
    count = 1 + int(rng.random() < chosen.companions) + int(rng.random() < chosen.companions**2)
    gaits = [_body(rng, frames, k, chosen.speed) for k in range(count)]
    camera = make_camera(rng, gaits[0], frames, width, height, bool(rng.random() < chosen.pan))
    bodies = [(gait, make_coat(rng, pool, chosen.plain)) for gait in gaits]
    if rng.random() < chosen.grass:
        bodies.append(_grass(rng, gaits[0], camera, frames, pool))
    shot = Shot(
        bodies, camera, _scenery(rng, pool, camera, gaits[0], frames), frames, count,
        shutter=float(rng.uniform(0.3, 1.0)) if rng.random() < chosen.motion_blur else 0.0,
        readout=float(rng.uniform(0.2, 0.8)) if rng.random() < chosen.rolling_shutter else 0.0,
    )  # fmt: skip
    filmed = film(shot)
    look = BatchOptions(defocus=chosen.defocus, noise=chosen.noise, light=chosen.light, compression=chosen.compression)
    recorded = develop(filmed.frames[None], np.random.default_rng([seed, 12]), look)[0]
    chosen_points = choose(np.random.default_rng([seed, 13]), filmed, points)
    xy, visible = follow(shot, filmed, chosen_points)
    rotation, eye = camera.pose(np.arange(frames, dtype=np.float64))
    return BodyClip(
        recorded, xy.float(), visible.float(), chosen_points.frame, chosen_points.body % (count + 1),
        filmed.masks, filmed.parts, filmed.depth, _poses(rotation, eye),
        np.array([[camera.focal, 0, width / 2], [0, camera.focal, height / 2], [0, 0, 1]]),
    )  # fmt: skip


def _body(rng: Generator, frames: int, number: int, speed: float) -> Gait:
    species = str(rng.choice(list(SPECIES), p=SHARES))
    skeleton = SPECIES[species](rng)
    # Companions walk beside the first or across its way.
    place = np.zeros(3) if number == 0 else np.array([*rng.uniform(-1.2, 1.2, 2), 0.0])
    if species == "hand":
        place[2] = rng.uniform(0.1, 0.5)
    heading = float(rng.uniform(0, 2 * np.pi))
    return make_gait(rng, skeleton, frames, place, heading, speed)


def _grass(rng: Generator, gait: Gait, camera: Camera, frames: int, pool: TexturePool) -> tuple[Gait, Coat]:
    """Thin blades between the camera and the feet, which rest."""
    middle = np.array([frames / 2])
    foot, eye = gait.root(middle)[0][0], camera.pose(middle)[1][0]
    toward = (eye - foot)[:2] / np.linalg.norm((eye - foot)[:2])
    across = np.array([-toward[1], toward[0]])
    blades = Skeleton(blend=0.002)
    for _ in range(14):
        x, y = foot[:2] + toward * rng.uniform(0.2, 0.7) + across * rng.uniform(-0.9, 0.9)
        tip = (x + rng.normal(0, 0.06), y + rng.normal(0, 0.06), rng.uniform(0.08, 0.35))
        blades.add(-1, (x, y, -0.02), tip, (rng.uniform(0.008, 0.02), 0.004))
    rest = Gait(blades, lambda t: (np.zeros((len(t), 3)), np.repeat(np.eye(3)[None], len(t), 0)),
                lambda t: np.zeros((len(t), 14, 3)))  # fmt: skip
    return rest, make_coat(rng, pool, 0.8)


def _scenery(rng: Generator, pool: TexturePool, camera: Camera, gait: Gait, frames: int) -> Scenery:
    rotation, _ = camera.pose(np.array([frames / 2]))
    ahead = rotation[0, :, 2] * (1, 1, 0)
    ahead = ahead / np.linalg.norm(ahead)
    body = gait.root(np.array([frames / 2]))[0][0]
    detailed = pool.detailed.cpu().numpy()
    light = rng.normal(0, 1, 3)
    light[2] = abs(light[2]) + 0.5
    return Scenery(
        ground=Picture.of(pool, int(rng.choice(detailed))), ground_scale=float(np.exp(rng.uniform(-2.0, 0.0))),
        wall=Picture.of(pool, int(rng.choice(detailed))), wall_scale=float(np.exp(rng.uniform(-2.6, -1.2))),
        ahead=torch.from_numpy(ahead.astype(np.float32)),
        distance=float(ahead @ (body - 0) + rng.uniform(1.5, 8.0)),
        light=torch.from_numpy((light / np.linalg.norm(light)).astype(np.float32)),
        ambient=float(rng.uniform(0.35, 0.8)),
        shadow=float(rng.uniform(0, 0.5)),
    )  # fmt: skip


def _poses(rotation: Float64, eye: Float64) -> Float64:
    poses = np.tile(np.eye(4), (len(eye), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = rotation, eye
    return poses
