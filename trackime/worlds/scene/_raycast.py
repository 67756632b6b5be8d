"""Pixels of a 3D scene: which surface a ray meets, its colour there, and whole frames."""

from __future__ import annotations

import torch
from torch import Tensor

from trackime.arrays import Float32, FloatArray, Int64, UInt8
from trackime.worlds._pixels import develop, pixel_centres
from trackime.worlds.scene._bodies import ACROSS, BodyScene, trace, turn
from trackime.worlds.scene._solids import Shape

CHUNK = 1 << 17
"""Rays processed at a time: bounds memory for large frames; it changes no result."""

BIAS = 1e-3
"""An occluder casts a shadow where it is nearer to the lamp than the surface by this share of the distance."""

JUMP = 0.05
"""Relative step in depth between neighbouring pixels from which there is an edge to antialias."""


def camera_rays(scene: BodyScene, t: int, xy: Tensor) -> Tensor:
    """Rays [3, N] through pixels [N, 2] of frame t, world directions; their length makes s the depth z."""
    x = (xy[:, 0] - scene.info.width / 2) / scene.focal
    y = (xy[:, 1] - scene.info.height / 2) / scene.focal
    return turn(scene.poses[t, :3, :3], torch.stack([x, y, torch.ones_like(x)]))


def first_hits(scene: BodyScene, t: int, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Depth z [N] and body int64 [N] at pixels [N, 2] of frame t."""
    parts = [
        trace(scene.bodies_at(t), t, scene.poses[t, :3, 3], camera_rays(scene, t, part)) for part in xy.split(CHUNK)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def shade(scene: BodyScene, t: int, xy: Tensor, footprint: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """The scene at pixels [N, 2] of frame t; `footprint` is the side of the area that each averages, in pixels.

    Returns:
        Colour float32 [3, N], depth [N], and a key int64 [N] that changes where surfaces meet or a shadow ends.
    """
    rays = camera_rays(scene, t, xy)
    eye = scene.poses[t, :3, 3]
    depth, owner = trace(scene.bodies_at(t), t, eye, rays)
    key, lamp = owner * 16, torch.zeros_like(depth)
    layers: list[list[tuple[Tensor, ...]]] = [[], [], []]
    light = scene.lights[scene.shot_at(t)]
    for index, body in scene.bodies_at(t):
        rows = (owner == index).nonzero()[:, 0]
        if not len(rows):
            continue
        back = body.rotation[t].T
        directions, s = turn(back, rays[:, rows]), depth[rows]
        points = s * directions + _column(back @ (eye - body.place[t]), directions)
        normal = body.shape.normal(points)
        beam = _column(back @ (light - body.place[t]), points) - points
        length = (beam * beam).sum(0).sqrt()
        lamp[rows] = (beam * normal).sum(0).clamp(min=0) / length / (1 + (length / 4) ** 2)
        # How the surface point moves from one pixel to the next, the surface taken for its tangent plane.
        facing = (normal * directions).sum(0)
        facing = torch.minimum(facing, -0.02 * (directions * directions).sum(0).sqrt())
        steps = []
        for axis in (0, 1):
            tilt = _column(back @ scene.poses[t, :3, axis] * (footprint / scene.focal), points)
            steps.append(s * (tilt - directions * ((normal * tilt).sum(0) / facing)))
        parts = body.shape.paint(points, normal)
        if len(parts) == 1:
            key[rows] += 2 * parts[0].face
        for layer, part in zip(layers, parts, strict=False):
            uv, dx, dy = _across(body.shape, part.face, points, steps[0], steps[1])
            layer.append((rows, body.first_face + part.face, uv, dx, dy, part.weight))
    colour = torch.zeros(3, len(depth), device=xy.device)
    for layer in layers:
        if layer:
            rows, face, uv, dx, dy, weight = (torch.cat(list(field), -1) for field in zip(*layer, strict=True))
            colour[:, rows] += weight.float() * scene.pool.colour(face, uv, dx, dy, footprint == 1)
    if scene.options.light == 0:
        return colour, depth, key
    if scene.options.shadows:
        hit = _column(eye, rays) + depth * rays
        others = [(k, body) for k, body in scene.bodies_at(t) if not body.room]
        rows = (lamp > 0).nonzero()[:, 0]
        met, _ = trace(others, t, light, hit[:, rows] - _column(light, hit))
        dark = rows[met < 1 - BIAS]
        lamp[dark] = 0
        key[dark] += 1
    share = scene.options.light
    return colour * (1 - share + 2.2 * share * lamp).float(), depth, key


def _column(vector: FloatArray, like: Tensor) -> Tensor:
    return like.new_tensor(vector.tolist())[:, None]


def _across(shape: Shape, face: Tensor, points: Tensor, dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points and their steps [3, N] along the two axes of their face's texture, [2, N]: 0 to 1 over the shape."""
    axes = torch.tensor(ACROSS, device=points.device)[face // 2].T  # [2, N]
    extent = 2 * points.new_tensor(shape.half)[axes]
    return points.gather(0, axes) / extent + 0.5, dx.gather(0, axes) / extent, dy.gather(0, axes) / extent


def _edges(key: Tensor, depth: Tensor) -> Tensor:
    """Pixels [H, W] whose neighbours, diagonal ones too, are another surface or much nearer or farther."""
    out = torch.zeros_like(key, dtype=torch.bool)
    h, w = key.shape
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = (slice(0, h - dy), slice(max(0, -dx), w - max(0, dx)))
        b = (slice(dy, h), slice(max(0, dx), w - max(0, -dx)))
        jump = (depth[a] - depth[b]).abs() > JUMP * torch.minimum(depth[a], depth[b])
        differs = (key[a] != key[b]) | jump
        out[a] |= differs
        out[b] |= differs
    return out


def render_sharp(scene: BodyScene, t: int) -> Tensor:
    """Frame t without noise: float [3, H, W] in about [0, 1].

    Within a surface one ray per pixel and filtered textures; where surfaces meet, the mean of `samples` squared rays.
    """
    width, height, n = scene.info.width, scene.info.height, scene.options.samples
    # Colours need no more than float32; depth and masks, which must agree with the tracks, are traced in float64.
    xy = pixel_centres((0, 0, width, height), scene.device).view(-1, 2)
    parts = [shade(scene, t, part) for part in xy.split(CHUNK)]
    colour, depth, key = (torch.cat(list(field), -1) for field in zip(*parts, strict=True))
    rows = _edges(key.view(height, width), depth.view(height, width)).flatten().nonzero()[:, 0]
    if n > 1 and len(rows):
        offsets = pixel_centres((0, 0, n, n), scene.device).view(-1, 2) / n - 0.5
        for part in rows.split(max(1, CHUNK // n**2)):
            points = (xy[part, None] + offsets).view(-1, 2)
            colour[:, part] = shade(scene, t, points, 1 / n)[0].view(3, len(part), n * n).mean(-1)
    return colour.view(3, height, width)


def render_frame(scene: BodyScene, t: int) -> UInt8:
    """Frame t with sensor noise: uint8 [H, W, 3]."""
    return develop(render_sharp(scene, t), scene.seed, t, scene.options.noise)


def render_maps(scene: BodyScene, t: int) -> tuple[Float32, Int64]:
    """Depth z float32 [H, W] and body int64 [H, W] at the pixel centres of frame t."""
    width, height = scene.info.width, scene.info.height
    xy = pixel_centres((0, 0, width, height), scene.device).to(scene.dtype).view(-1, 2)
    depth, owner = first_hits(scene, t, xy)
    return depth.view(height, width).float().cpu().numpy(), owner.view(height, width).cpu().numpy()
