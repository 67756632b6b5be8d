"""Articulated bodies: what clings to them, what hides them, and that the same arguments give the same clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trackime.errors import InputError
from trackime.worlds import TexturePool
from trackime.worlds.bodies import BodyClip, BodyOptions, make_bodies
from trackime.worlds.bodies._camera import Camera
from trackime.worlds.bodies._gaits import Gait, make_gait, turn
from trackime.worlds.bodies._skin import Skin
from trackime.worlds.bodies._species import SPECIES

PLAIN = BodyOptions(companions=0, grass=0, motion_blur=0, rolling_shutter=0, defocus=0, noise=0, light=0, compression=0)


@pytest.fixture(scope="module")
def pool() -> TexturePool:
    return TexturePool.procedural(count=8, outlines=1, side=64)


def clip(pool: TexturePool, seed: int = 4, **change: float) -> BodyClip:
    options = BodyOptions(**{**{name: getattr(PLAIN, name) for name in PLAIN.__dataclass_fields__}, **change})
    return make_bodies(seed, 5, 48, 64, 24, options=options, pool=pool)


def gait(species: str, seed: int = 0) -> Gait:
    rng = np.random.default_rng(seed)
    return make_gait(rng, SPECIES[species](rng), 6, np.zeros(3), 0.3, 1.0)


@pytest.mark.parametrize("species", list(SPECIES))
def test_bones_hang_together_and_are_rigid(species: str) -> None:
    moving = gait(species)
    times = np.linspace(0, 5, 7)
    rotation, origin = moving.pose(times)
    assert np.allclose(rotation @ rotation.transpose(0, 1, 3, 2), np.eye(3), atol=1e-9)
    start = np.stack(moving.skeleton.start)
    for bone, parent in enumerate(moving.skeleton.parent):
        if parent >= 0:  # a bone's start keeps its distance from its parent's
            apart = np.linalg.norm(origin[:, bone] - origin[:, parent], axis=-1)
            assert np.allclose(apart, np.linalg.norm(start[bone] - start[parent]))


def test_turns_are_right_handed() -> None:
    for axis in range(3):
        assert np.allclose(np.linalg.det(turn(axis, np.array([0.3, 2.0]))), 1)
    assert np.allclose(turn(2, np.array(np.pi / 2)) @ [1, 0, 0], [0, 1, 0])


@pytest.mark.parametrize("species", ["quadruped", "hand"])
def test_rays_stop_at_the_surface(species: str) -> None:
    skin = Skin.of(gait(species), np.array([0.0, 2.5]))
    rng = np.random.default_rng(1)
    when = torch.from_numpy(rng.integers(0, 2, 200))
    bones = torch.from_numpy(rng.integers(0, len(skin.start), 200))
    target = skin.origin[when, bones]
    eye = target + 3 * torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(200, 3))).float(), dim=-1)
    ray = torch.nn.functional.normalize(target - eye, dim=-1)
    found = skin.hit(eye, ray, when, torch.full((200,), 10.0))
    hit = torch.isfinite(found)
    assert hit.float().mean() > 0.97  # thin flat bones may be missed at their very end
    surface = skin.at(eye[hit] + found[hit, None] * ray[hit], when[hit])
    assert surface.distance.abs().quantile(0.95) < 0.006
    assert torch.allclose(surface.normal.norm(dim=-1), torch.ones(int(hit.sum())), atol=1e-4)
    assert ((surface.normal * ray[hit]).sum(-1) < 0.2).all()


def test_a_point_is_followed_back_to_itself() -> None:
    skin = Skin.of(gait("quadruped"), np.array([0.0, 3.0]))
    rng = np.random.default_rng(2)
    target = skin.origin[0, rng.integers(0, 12, 64)]
    eye = target + 3 * torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(64, 3))).float(), dim=-1)
    ray = torch.nn.functional.normalize(target - eye, dim=-1)
    first = torch.zeros(64, dtype=torch.long)
    found = skin.hit(eye, ray, first, torch.full((64,), 10.0))
    on = torch.isfinite(found)
    start = (eye + found[:, None] * ray)[on]
    surface, first = skin.land(start, ray[on], first[on]), first[on]
    assert (skin.follow(surface.rest, surface.weights, first) - start).norm(dim=-1).quantile(0.9) < 5e-3
    there = skin.follow(surface.rest, surface.weights, first + 1).float()
    again = skin.at(there, first + 1)
    # On the surface, and the same texture but where a joint bends most.
    assert again.distance.abs().median() < 1e-4
    assert (again.rest - surface.rest).norm(dim=-1).median() < 4e-3
    back = skin.follow(again.rest, again.weights, first)
    assert (back - start).norm(dim=-1).median() < 4e-3


def test_what_a_clip_is_made_of(pool: TexturePool) -> None:
    made = clip(pool)
    assert made.frames.shape == (5, 3, 48, 64) and 0 <= made.frames.min() and made.frames.max() <= 1
    assert made.xy.shape == (24, 5, 2) and made.visibility.shape == (24, 5)
    every = torch.arange(24)
    assert (made.visibility[every, made.query_frame] == 1).all()
    at = made.xy[every, made.query_frame]
    assert ((at % 1) - 0.5).abs().max() < 0.05, "queries are pixel centres"
    column, row = at.long().T
    assert (made.masks[made.query_frame, row, column].long() == made.object).all()
    assert ((made.parts > 0) == (made.masks > 0)).all()
    assert made.depth.min() > 0
    rotation = made.poses[:, :3, :3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-9)


def test_static_points_project_by_the_cameras(pool: TexturePool) -> None:
    made = clip(pool, pan=1.0)
    for n in torch.nonzero(made.object == 0)[:, 0].tolist():
        t = int(made.query_frame[n])
        x, y = made.xy[n, t].double().numpy()
        ray = np.linalg.inv(made.intrinsics) @ (x, y, 1)
        point = made.poses[t] @ np.append(ray * float(made.depth[t, int(y), int(x)]), 1)
        for s in range(5):
            local = (np.linalg.inv(made.poses[s]) @ point)[:3]
            if local[2] > 0.1:
                pixel = (made.intrinsics @ local)[:2] / local[2]
                assert np.abs(pixel - made.xy[n, s].numpy()).max() < 0.05


def test_the_same_arguments_give_the_same_clip(pool: TexturePool) -> None:
    first, second = (clip(pool, companions=1, grass=1, motion_blur=1, rolling_shutter=1) for _ in range(2))
    assert torch.equal(first.frames, second.frames) and torch.equal(first.xy, second.xy)
    other = clip(pool, seed=5)
    assert not torch.equal(first.xy, other.xy)


def test_rows_are_exposed_at_their_times(pool: TexturePool) -> None:
    made = clip(pool, rolling_shutter=1)
    every = torch.arange(24)
    # A point's own row decides when it is seen: at its query frame it is where its ray was cast.
    assert ((made.xy[every, made.query_frame] % 1) - 0.5).abs().max() < 0.05


@pytest.mark.parametrize(("change", "message"), [({"plain": 1.2}, "plain: expected 0 .. 1"), ({"speed": 0}, "speed")])
def test_options_are_checked(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BodyOptions(**change)


def test_blur_is_of_the_exposure(pool: TexturePool) -> None:
    sharp, blurred = clip(pool, speed=2.5), clip(pool, speed=2.5, motion_blur=1)
    assert torch.equal(sharp.masks, blurred.masks)
    assert (sharp.frames - blurred.frames).abs().mean() > 3e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 5, 48, 64, 8), "seed"),
        ((0, 0, 48, 64, 8), "frames"),
        ((0, 5, 8, 64, 8), "height"),
        ((0, 5, 48, 64, 0), "points"),
    ],
)
def test_sizes_are_checked(arguments: tuple[int, int, int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=f"{message}: expected a whole number"):
        make_bodies(*arguments)


def test_what_is_behind_the_camera_stays_in_reach() -> None:
    camera = Camera(50.0, 64, 48, lambda t: (np.repeat(np.eye(3)[None], len(t), 0), np.zeros((len(t), 3))))
    points = torch.tensor([[0.0, 0, 2], [0.3, 0, 1e-9], [0.3, -0.2, -4], [1e9, 0, 1]], dtype=torch.float64)
    xy, depth = camera.project(points, torch.eye(3, dtype=torch.float64).expand(4, 3, 3), torch.zeros(4, 3).double())
    assert torch.equal(depth, points[:, 2]) and xy[0].tolist() == [32, 24]
    assert (xy >= torch.tensor([-128, -96])).all() and (xy <= torch.tensor([192, 144])).all()
