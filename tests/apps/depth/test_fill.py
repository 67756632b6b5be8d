"""Filling by weighted least squares: against a direct solver, on planes, edges, holes, sizes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import spsolve

from trackime.errors import InputError, ShapeError
from trackime_apps.depth.stereo import fill
from trackime_apps.depth.stereo._fill_movers import fill_movers
from trackime_apps.depth.stereo._multigrid import ScreenedPoisson


def matrix(diagonal: np.ndarray, across: np.ndarray, down: np.ndarray) -> csc_array:
    """The system, entry by entry."""
    h, w = diagonal.shape
    index = np.arange(h * w).reshape(h, w)
    one = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    other = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    link = np.concatenate([across.ravel(), down.ravel()]).astype(float)
    rows = np.concatenate([index.ravel(), one, other, one, other])
    columns = np.concatenate([index.ravel(), one, other, other, one])
    values = np.concatenate([diagonal.ravel().astype(float), link, link, -link, -link])
    return csc_array(coo_array((values, (rows, columns)), shape=(h * w, h * w)))


def system(h: int, w: int, seed: int, share: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """diagonal, links across and down, right side: links from 1e-3 to 1, few samples."""
    rng = np.random.default_rng(seed)
    diagonal = (rng.random((h, w)) < share) * rng.random((h, w))
    diagonal.flat[rng.integers(h * w)] = 1
    across, down = (10 ** rng.uniform(-3, 0, s) for s in ((h, w - 1), (h - 1, w)))
    return tuple(x.astype(np.float32) for x in (diagonal, across, down, diagonal * rng.random((h, w))))  # type: ignore[return-value]


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 9), (200, 1), (3, 50), (31, 33), (64, 48)])
def test_a_membrane_is_solved_as_a_direct_solver_does(h: int, w: int) -> None:
    diagonal, across, down, right = system(h, w, h + w)
    expected = spsolve(matrix(diagonal, across, down), right.ravel().astype(float)).reshape(h, w)
    got = ScreenedPoisson(diagonal, across, down).solve(right, tolerance=1e-6, most=200)
    assert np.abs(got - expected).max() < 2e-3


def test_few_iterations_do_for_large_holes() -> None:
    diagonal, across, down, right = system(160, 200, 0, share=1e-3)
    expected = spsolve(matrix(diagonal, across, down), right.ravel().astype(float)).reshape(160, 200)
    solver = ScreenedPoisson(diagonal, across, down)
    errors = [np.abs(solver.solve(right, tolerance=0, most=k) - expected).mean() for k in (0, 5, 30)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 2e-3


def test_a_cycle_is_symmetric() -> None:
    diagonal, across, down, _ = system(21, 18, 3)
    solver = ScreenedPoisson(diagonal, across, down)
    a, b = np.random.default_rng(0).normal(size=(2, 21, 18)).astype(np.float32)
    one, other = np.vdot(a, solver.v_cycle(b)), np.vdot(b, solver.v_cycle(a))
    assert abs(one - other) < 1e-4 * (abs(one) + abs(other)) and np.vdot(a, solver.v_cycle(a)) > 0


GREY = np.full((48, 64, 3), 128, np.uint8)


def test_a_wall_is_filled_as_a_plane() -> None:
    y, x = np.mgrid[:48, :64]
    depth = 1 / (0.2 + 0.004 * x + 0.002 * y)
    known = np.ones(depth.shape, bool)
    known[15:30, 20:40] = False
    filled = fill(np.where(known, depth, 0), known, GREY)
    assert filled.dtype == np.float32 and filled.shape == (48, 64)
    inner = np.s_[4:-4, 4:-4]
    assert np.abs(filled / depth - 1)[inner].max() < 0.02


def test_filling_stops_at_a_colour_edge() -> None:
    image = GREY.copy()
    image[:, 32:] = (200, 30, 30)
    depth = np.zeros((48, 64))
    depth[10, 5], depth[40, 60] = 2.0, 6.0
    filled = fill(depth, depth > 0, image)
    assert np.abs(filled[:, :30] / 2 - 1).max() < 0.03 and np.abs(filled[:, 34:] / 6 - 1).max() < 0.1


def test_a_small_map_gets_the_edges_of_the_image() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    image[30:90, 50:101] = (220, 210, 60)
    truth = np.where(image[..., 0] > 100, 2.0, 5.0)
    # A network's map: a quarter of the size, soft at the edges.
    small = truth.reshape(30, 4, 40, 4).mean((1, 3))
    filled = fill(small, np.ones(small.shape), image)
    plain = np.repeat(np.repeat(small, 4, 0), 4, 1)
    error, before = (np.abs(z / truth - 1).mean() for z in (filled, plain))
    assert error < 0.015 and error < 0.6 * before


def test_an_outlier_is_outvoted() -> None:
    depth = np.full((48, 64), 3.0)
    depth[20:22, 30:32] = 1.0
    sure = fill(depth, np.ones(depth.shape), GREY)
    plain = fill(depth, np.ones(depth.shape), GREY, robust=False)
    assert abs(sure[20, 30] - 3) < 0.15 < abs(plain[20, 30] - 3)


def test_filling_knows_no_unit() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 3, (48, 64)) * (rng.random((48, 64)) < 0.2)
    image = rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)
    one = fill(depth, depth > 0, image)
    other = fill(1e4 * depth, depth > 0, image)
    assert np.abs(other / (1e4 * one) - 1).max() < 1e-3
    assert one.min() >= depth[depth > 0].min() * 0.9999 and one.max() <= depth.max() * 1.0001


def test_what_is_unknown_plays_no_part() -> None:
    depth = np.full((12, 16), 2.0)
    depth[2], depth[3], depth[4], depth[5] = np.nan, np.inf, -1, 0
    filled = fill(depth, np.ones(depth.shape), GREY)
    assert np.abs(filled - 2).max() < 1e-3


@pytest.mark.parametrize(
    ("depth", "confidence", "image", "message"),
    [
        (np.zeros((4, 5)), np.ones((4, 5)), GREY, "known in one pixel at least"),
        (np.ones((4, 5)), np.zeros((4, 5)), GREY, "known in one pixel at least"),
        (np.ones((4, 5)), np.ones((5, 4)), GREY, "confidence"),
        (np.ones((4, 5)), -np.ones((4, 5)), GREY, "confidence of 0 or more"),
        (np.ones((4, 5)), np.full((4, 5), np.nan), GREY, "confidence of 0 or more"),
        (np.ones(4), np.ones(4), GREY, r"depth.*\[h, w\]"),
        (np.ones((4, 5)), np.ones((4, 5)), GREY[..., 0], r"\[H, W, 3\]"),
        (np.ones((4, 5)), np.ones((4, 5)), GREY / 255.0, "uint8"),
    ],
)
def test_bad_input_is_one_line(depth: np.ndarray, confidence: np.ndarray, image: np.ndarray, message: str) -> None:
    with pytest.raises((InputError, ShapeError), match=message) as error:
        fill(depth, confidence, image)
    assert "\n" not in str(error.value)


def test_a_mover_stands_in_front_of_what_is_about_it() -> None:
    depth = np.tile(np.linspace(8, 2, 48)[:, None], (1, 64)).astype(np.float32)  # a floor: nearer below
    moving = np.zeros((48, 64), bool)
    moving[10:30, 20:30] = moving[5:9, 50:54] = True
    out = fill_movers(depth, moving)
    assert (out[~moving] == depth[~moving]).all()
    assert len(np.unique(out[10:30, 20:30])) == 1 and len(np.unique(out[5:9, 50:54])) == 1
    assert depth[33, 0] <= out[20, 25] <= depth[26, 0]
    assert (fill_movers(depth, np.ones_like(moving)) == depth).all()
