"""Rotations and the relative motion of pairs of frames."""

from __future__ import annotations

import torch


def cross_matrix(v: torch.Tensor) -> torch.Tensor:
    """[v]x of v [..., 3]: [..., 3, 3] with [v]x w = v x w."""
    zero = torch.zeros_like(v[..., 0])
    x, y, z = v.unbind(-1)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(*v.shape[:-1], 3, 3)


def exp_rotation(v: torch.Tensor) -> torch.Tensor:
    """Rodrigues' formula: the rotation [..., 3, 3] about v [..., 3] by |v| radians; smooth at 0."""
    square = (v * v).sum(-1)[..., None, None]
    small = square < 1e-8
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    a = torch.where(small, 1 - square / 6, angle.sin() / angle)
    b = torch.where(small, 0.5 - square / 24, 2 * (angle / 2).sin().square() / angle.square())
    k = cross_matrix(v)
    eye = torch.eye(3, dtype=v.dtype, device=v.device)
    return eye + a * k + b * (k @ k)


def log_rotation(rotation: torch.Tensor) -> torch.Tensor:
    """The vector v [..., 3] with |v| <= pi whose `exp_rotation` is `rotation` [..., 3, 3]."""
    trace = rotation.diagonal(dim1=-2, dim2=-1).sum(-1)
    # Unit quaternion by its largest component: sound at every angle.
    m = rotation
    xs = torch.stack(
        (
            1 + trace,
            1 + 2 * m[..., 0, 0] - trace,
            1 + 2 * m[..., 1, 1] - trace,
            1 + 2 * m[..., 2, 2] - trace,
        ),
        -1,
    )
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    rows = torch.stack((xs[..., 0], a, b, c, a, xs[..., 1], d, e, b, d, xs[..., 2], f, c, e, f, xs[..., 3]), -1)
    rows = rows.reshape(*m.shape[:-2], 4, 4)
    best = xs.argmax(-1)[..., None, None].expand(*m.shape[:-2], 1, 4)
    q = torch.gather(rows, -2, best)[..., 0, :]
    q = q / q.norm(dim=-1, keepdim=True)
    q = torch.where(q[..., :1] < 0, -q, q)
    sine = q[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, q[..., :1])
    return q[..., 1:] * torch.where(sine > 1e-12, angle / sine.clamp(min=1e-12), 2 * torch.ones_like(sine))


def orthonormal(rotation: torch.Tensor) -> torch.Tensor:
    """The nearest rotations [..., 3, 3]: rounding does not add up over many updates."""
    u, _, v = torch.linalg.svd(rotation)
    sign = torch.linalg.det(u @ v)
    fix = torch.ones_like(rotation[..., 0])
    fix[..., 2] = sign
    return (u * fix[..., None, :]) @ v
