"""The solver of consistent depth against slow references, and on scenes whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from benchmarks.solver_scene import Scene, delta1, hierarchical, make_scene, position_error
from tests.apps.depth.reference import Reference, dense, theta_at
from trackime.errors import InputError, ShapeError, SolveError
from trackime_apps.depth.solver import Grid, Matches, Problem, Solution, SolverConfig, solve
from trackime_apps.depth.solver._cholesky import BlockCholesky, Elimination, NotPositiveError
from trackime_apps.depth.solver._conjugate_gradients import TwoLevel
from trackime_apps.depth.solver._frame_pairs import FramePairs, components
from trackime_apps.depth.solver._gauge import FirstScale, MedianScale
from trackime_apps.depth.solver._linear_solver import LinearSolver
from trackime_apps.depth.solver._objective import Objective
from trackime_apps.depth.solver._residuals import ResidualSettings
from trackime_apps.depth.solver._rotations import exp_rotation
from trackime_apps.depth.solver._solve import stages
from trackime_apps.depth.solver._state import Layout, SolverState

torch.manual_seed(0)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def around(scene: Scene, grid: str, seed: int = 0, size: float = 0.02) -> SolverState:
    """Unknowns near the truth, none of them special."""
    problem = scene.problem
    places = Grid.named(grid, problem.width, problem.height)
    f = problem.frames
    return SolverState(
        scene.poses[:, :3, :3] @ exp_rotation(size * normal(f, 3, seed=seed)),
        scene.poses[:, :3, 3] + size * normal(f, 3, seed=seed + 1),
        5 * size * normal(f, places.count, seed=seed + 2),
        math.log(scene.focal) + 0.05 * normal(1, seed=seed + 3).expand(f),
        torch.tensor(0.01 if problem.disparity else 0.0, dtype=torch.float64),
        places,
    )


def thin(scene: Scene, count: int) -> Scene:
    """The same with some of the matches, unlike weights and sigmas."""
    m = scene.problem.matches
    m = m.take(torch.linspace(0, len(m) - 1, count).long())
    random = torch.Generator().manual_seed(5)
    values = {
        "weight": 0.5 + torch.rand(count, generator=random, dtype=torch.float64),
        "sigma": 0.7 + torch.rand(count, generator=random, dtype=torch.float64),
    }
    return replace(scene, problem=replace(scene.problem, matches=Matches(**{**vars(m), **values})))


def setting(scene: Scene, config: SolverConfig, state: SolverState) -> tuple[Objective, Layout]:
    problem = scene.problem
    layout = Layout(
        problem.frames, state.grid.count, config.focal == "free", config.focal == "shared", problem.disparity
    )
    frame = ResidualSettings(problem.width, problem.height, problem.disparity, config)
    pairs = FramePairs.of(problem.matches, problem.frames)
    return Objective(pairs, frame, layout, math.log(problem.focal), 0.3), layout


CASES = [
    ("default", "shared", 0.0, "6x4"),
    ("default", "free", 0.5, "6x4"),
    ("default", "fixed", 0.5, "1x1"),
    ("rcvd", "shared", 0.5, "6x4"),
    ("rcvd", "free", 0.0, "6x4"),
]


# ---- derivatives


@pytest.mark.parametrize(("residual", "focal", "shift", "grid"), CASES)
def test_cost_gradient_and_hessian_are_the_reference_s(residual, focal, shift, grid):
    scene = thin(make_scene(4, 120, shift=shift, seed=1), 40)
    config = SolverConfig(residual=residual, focal=focal)
    state = around(scene, grid)
    objective, layout = setting(scene, config, state)
    reference = Reference(scene.problem, config, state, layout, 0.3)
    zero = torch.zeros(reference.size, dtype=torch.float64, requires_grad=True)
    cost = reference.cost(zero)
    (slope,) = torch.autograd.grad(cost, zero)
    got = objective.cost(state)
    assert got.dropped == 0
    assert got.value == pytest.approx(float(cost.detach()), rel=1e-12)
    matrix, gradient = dense(objective.linearise(state))
    assert float((gradient - slope).norm() / slope.norm()) < 1e-10
    expected = reference.gauss_newton()
    assert float((matrix - expected).norm() / expected.norm()) < 1e-10
    assert float((matrix - expected).abs().max() / expected.abs().max()) < 1e-10


@pytest.mark.parametrize(("residual", "focal", "shift", "grid"), CASES)
def test_gradient_is_the_cost_s_slope(residual, focal, shift, grid):
    scene = thin(make_scene(4, 120, shift=shift, seed=2), 60)
    config = SolverConfig(residual=residual, focal=focal)
    state = around(scene, grid, seed=3)
    objective, layout = setting(scene, config, state)
    system = objective.linearise(state)
    for seed in range(3):
        step, top = normal(layout.frames, layout.block, seed=seed), normal(layout.globals, seed=seed + 9)
        h = 1e-6
        sides = [objective.cost(state.moved(layout, s * h * step, s * h * top)).value for s in (1, -1)]
        slope = float((system.slope * step).sum() + (system.slope_top * top).sum())
        assert (sides[0] - sides[1]) / (2 * h) == pytest.approx(slope, rel=1e-6)


def test_chunks_and_order_change_nothing():
    scene = make_scene(5, 200, seed=3)
    state, config = around(scene, "6x4"), SolverConfig()
    objective, _ = setting(scene, config, state)
    whole, first = dense(objective.linearise(state)), objective.cost(state)
    m = scene.problem.matches
    shuffled = m.take(torch.randperm(len(m), generator=torch.Generator().manual_seed(1)))
    other, _ = setting(replace(scene, problem=replace(scene.problem, matches=shuffled)), config, state)
    other.chunk = 37
    for a, b in zip(whole, dense(other.linearise(state)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-9)
    assert other.cost(state).value == pytest.approx(first.value, rel=1e-13)


# ---- linear algebra


def damped_system(config: SolverConfig, grid: str = "6x4", frames: int = 9, shift: float = 0.5):
    scene = make_scene(frames, 300, shift=shift, seed=4)
    state = around(scene, grid)
    objective, layout = setting(scene, config, state)
    system = objective.linearise(state)
    anchors = torch.tensor([0])
    scale = FirstScale(layout, anchors) if config.gauge == "first" else MedianScale(layout, anchors, objective.pairs)
    gauge = scale.gauge(state)
    gauge.apply(system)
    plan = Elimination.of(frames, system.low, system.high)
    return system.damped(1e-6), gauge, layout, plan


@pytest.mark.parametrize("gauge", ["first", "median"])
@pytest.mark.parametrize("focal", ["shared", "free"])
def test_steps_are_the_dense_solver_s(focal, gauge):
    shift = 0.5 if gauge == "first" else 0.0
    system, rule, layout, plan = damped_system(SolverConfig(focal=focal, gauge=gauge), shift=shift)
    matrix, slope = dense(system)
    expected = -torch.linalg.solve(matrix, slope)
    for linear in (LinearSolver(plan, "cholesky"), LinearSolver(plan, "pcg", share=1e-13)):
        step, top, _ = linear.solve(system, rule.basis(layout))
        got = torch.cat((step.reshape(-1), top))
        assert float((got - expected).norm() / expected.norm()) < 1e-8
    step = rule.back(step)
    assert float(step[0, :6].abs().max()) == 0
    if gauge == "first":
        assert abs(float(step[0, layout.header :].mean())) < 1e-12
    inside = rule.back(rule.back(step))
    torch.testing.assert_close(inside, step)


def test_second_level_is_what_makes_gradients_fast():
    system, rule, layout, plan = damped_system(SolverConfig(), frames=40, shift=0.0)
    basis = rule.basis(layout)
    two = LinearSolver(plan, "pcg", share=1e-6).solve(system, basis)[2]
    one = LinearSolver(plan, "pcg", share=1e-6).solve(system, torch.zeros_like(basis))[2]
    assert two < one / 2


def test_a_step_that_gradients_are_slow_for_is_solved_exactly(monkeypatch):
    system, rule, layout, plan = damped_system(SolverConfig())
    monkeypatch.setattr("trackime_apps.depth.solver._linear_solver.PATIENCE", 2)
    basis = rule.basis(layout)
    exact, (auto, _, taken) = (LinearSolver(plan, name).solve(system, basis) for name in ("cholesky", "auto"))
    assert taken == 2 and torch.equal(auto, exact[0])


@pytest.mark.parametrize("group", [1, 4, 16])
def test_second_level_solves_the_shared_unknowns(group, monkeypatch):
    monkeypatch.setattr("trackime_apps.depth.solver._conjugate_gradients.GROUP", group)
    system, rule, layout, _ = damped_system(SolverConfig())
    basis = rule.basis(layout)
    matrix = dense(system)[0][: layout.frames * layout.block, : layout.frames * layout.block]
    wide = torch.block_diag(*basis)
    kept = wide.norm(dim=0) > 0
    wide = wide[:, kept]
    r = normal(layout.frames, layout.block, 2)
    flat = r.reshape(-1, 2)
    own = torch.block_diag(*system.diagonal)
    expected = torch.linalg.solve(own, flat) + wide @ torch.linalg.solve(wide.T @ matrix @ wide, wide.T @ flat)
    got = TwoLevel(system, basis)(r).reshape(-1, 2)
    assert float((got - expected).norm() / expected.norm()) < 1e-9


@pytest.mark.parametrize("pairs", [[], [(0, 1)], [(0, 4), (1, 3)], hierarchical(16), [(0, k) for k in range(1, 16)]])
def test_block_cholesky_solves(pairs):
    f, m = 16, 3
    links = sorted({(min(p), max(p)) for p in pairs})
    low, high = (torch.tensor([p[k] for p in links], dtype=torch.int64) for k in (0, 1))
    blocks, other = normal(f, m, m), normal(len(links), m, m, seed=1)
    diagonal = blocks @ blocks.mT + 40 * torch.eye(m, dtype=torch.float64)
    full = torch.zeros(f, f, m, m, dtype=torch.float64)
    full[range(f), range(f)] = diagonal
    full[low, high], full[high, low] = other, other.mT
    b = normal(f, m, 2, seed=2)
    factor = BlockCholesky(Elimination.of(f, low, high), diagonal, other)
    expected = torch.linalg.solve(full.transpose(1, 2).reshape(f * m, f * m), b.reshape(f * m, 2))
    torch.testing.assert_close(factor.solve(b).reshape(f * m, 2), expected, rtol=1e-9, atol=1e-12)


def test_block_cholesky_refuses_what_is_not_positive():
    none = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(NotPositiveError):
        BlockCholesky(
            Elimination.of(2, none, none),
            -torch.eye(3, dtype=torch.float64).repeat(2, 1, 1),
            torch.zeros(0, 3, 3, dtype=torch.float64),
        )


def operations(plan: Elimination, block: int) -> float:
    """Floating-point operations of a factorisation with blocks of `block` unknowns."""
    return float(sum(block**3 * (1 / 3 + q + q * (q + 1)) for q in map(len, plan.later)))


def test_fill_grows_with_the_frames_alone():
    fill = []
    for frames in (64, 256):
        links = sorted({(min(p), max(p)) for p in hierarchical(frames)})
        low, high = (torch.tensor([p[k] for p in links]) for k in (0, 1))
        fill.append(operations(Elimination.of(frames, low, high), 176) / frames)
    assert fill[1] < 1.7 * fill[0]  # levels are added, not frames


# ---- handles and rotations


@pytest.mark.parametrize("name", ["1x1", "6x4", "17x10"])
@pytest.mark.parametrize("size", [(640, 360), (90, 160)])
def test_handles_are_bilinear(name, size):
    grid = Grid.named(name, *size)
    theta = normal(grid.count)
    x = torch.rand(50, 2, dtype=torch.float64) * torch.tensor(size) * 1.2 - 5
    expected = torch.stack([theta_at(theta, grid, p) for p in x])
    torch.testing.assert_close(grid.sample(theta, x), expected)
    torch.testing.assert_close(grid.sample(theta, grid.positions(theta)), theta)
    maps = grid.maps(theta, 11, 7)
    centre = torch.tensor([[3.5 * size[0] / 7, 4.5 * size[1] / 11]], dtype=torch.float64)
    torch.testing.assert_close(maps[4, 3], grid.sample(theta, centre)[0])


def test_laplacian_is_of_neighbours():
    grid = Grid.named("6x4", 64, 36)
    table = normal(4, 6)
    expected = table.diff(dim=0).square().sum() + table.diff(dim=1).square().sum()
    theta = table.reshape(-1)
    torch.testing.assert_close(theta @ grid.laplacian(theta) @ theta, expected)


def test_rotations():
    v = torch.cat((normal(20, 3), 1e-9 * normal(3, 3), torch.zeros(1, 3, dtype=torch.float64)))
    v = v * (3.1 / v.norm(dim=1, keepdim=True).clamp(min=3.1))
    matrices = exp_rotation(v)
    skew = torch.zeros(len(v), 3, 3, dtype=torch.float64)
    skew[:, [2, 0, 1], [1, 2, 0]], skew[:, [1, 2, 0], [2, 0, 1]] = v, -v
    torch.testing.assert_close(matrices, torch.linalg.matrix_exp(skew))
    np.testing.assert_allclose(Rotation.from_matrix(matrices.numpy()).as_rotvec(), v, rtol=1e-7, atol=1e-7)


def test_thinned_keeps_each_pair_and_its_weight():
    pairs = FramePairs.of(make_scene(5, 300, seed=6).problem.matches, 5)
    few = FramePairs.of(pairs.thinned(40), 5)
    assert torch.equal(few.i, pairs.i) and torch.equal(few.j, pairs.j)
    assert int(torch.bincount(few.pair).max()) == 40
    for a, b in ((few, pairs),):
        sums = [torch.zeros(len(q.i), dtype=torch.float64).index_add_(0, q.pair, q.matches.weight) for q in (a, b)]
        torch.testing.assert_close(*sums)


def test_components():
    got = components(6, torch.tensor([0, 3, 3]), torch.tensor([2, 4, 5]))
    assert got.tolist() == [0, 1, 0, 3, 3, 3]


# ---- recovery


def corrected(scene: Scene, solution: Solution) -> torch.Tensor:
    """[F, N] corrected depth of the scene's points."""
    theta = torch.stack([solution.grid.sample(t.reshape(-1), x) for t, x in zip(solution.theta, scene.xy, strict=True)])
    return theta.exp() / (scene.initial.reciprocal() + solution.shift)


def check(scene: Scene, solution: Solution, share: float = 0.01) -> None:
    for trace in solution.traces:
        assert all(b < a for a, b in zip(trace.costs, trace.costs[1:], strict=False)), trace.stage
    assert position_error(solution.poses, scene.poses) < share
    depth = corrected(scene, solution)
    assert delta1(depth[scene.seen], scene.depth[scene.seen]) > 0.95
    torch.testing.assert_close(solution.poses[0], torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("linear", ["pcg", "cholesky"])
def test_spoiled_depth_is_mended(linear):
    scene = make_scene(12, 500, noise=0.3)
    assert delta1(scene.initial[scene.seen], scene.depth[scene.seen]) < 0.7
    solution = solve(scene.problem, SolverConfig(linear=linear, grid="12x7"))
    check(scene, solution)
    assert abs(float(solution.focal[0]) / scene.focal - 1) < 0.03
    assert (sum(t.linear for t in solution.traces) > 0) == (linear == "pcg")


def test_disparity_with_a_shift_is_mended():
    scene = make_scene(12, 500, shift=0.5, noise=0.3)
    solution = solve(scene.problem, SolverConfig(grid="12x7"))
    check(scene, solution)
    assert solution.shift > 0
    ones = torch.full((36, 64), 3.0, dtype=torch.float64)
    depth = solution.depth(3, ones)
    theta = solution.grid.sample(solution.theta[3].reshape(-1), torch.tensor([[325.0, 185.0]], dtype=torch.float64))
    assert float(depth[18, 32]) == pytest.approx(float(theta.exp() / (1 / 3 + solution.shift)), rel=1e-12)


def test_sky_without_disparity_is_no_trouble():
    scene = make_scene(8, 400, shift=0.5, noise=0.3)
    m = scene.problem.matches
    d_i = m.d_i.clone()
    d_i[::50] = float("inf")
    problem = replace(scene.problem, matches=Matches(**{**vars(m), "d_i": d_i}))
    solution = solve(problem, SolverConfig(grid="6x4", coarse=0))
    assert solution.traces[0].dropped[0] == len(d_i[::50])
    check(scene, solution, 0.02)
    sky = torch.tensor([[0.0, -1.0, float("inf")]], dtype=torch.float64)
    depth = solution.depth(0, sky)[0]
    assert depth[0] == 0 and depth[1] == 0 and 0 < float(depth[2]) < float("inf")


def test_outliers_do_not_matter():
    scene = make_scene(12, 500, outliers=0.2, noise=0.3)
    check(scene, solve(scene.problem, SolverConfig(grid="12x7")))


@pytest.mark.parametrize("focal", ["free", "fixed"])
def test_focal_a_frame_or_given(focal):
    scene = make_scene(10, 400, guess=1.0 if focal == "fixed" else 1.05, noise=0.3)
    solution = solve(scene.problem, SolverConfig(focal=focal, grid="6x4"))
    check(scene, solution, 0.02)
    if focal == "fixed":
        torch.testing.assert_close(solution.focal, torch.full((10,), scene.focal, dtype=torch.float64))
    else:
        assert float(solution.focal.std()) > 0


def test_published_mode_and_median():
    scene = make_scene(10, 400, scale=0.05, deform=0.05, guess=1.0)
    config = SolverConfig(residual="rcvd", gauge="median", grid="6x4", focal="fixed")
    solution = solve(scene.problem, config)
    check(scene, solution, 0.2)
    m = scene.problem.matches
    for f in range(10):
        x, d = torch.cat((m.x_i[m.i == f], m.x_j[m.j == f])), torch.cat((m.d_i[m.i == f], m.d_j[m.j == f]))
        depth = solution.grid.sample(solution.theta[f].reshape(-1), x).exp() * d
        assert float(depth.median()) == pytest.approx(1, rel=1e-12)


def test_start_and_unit_do_not_matter():
    scene = make_scene(8, 400, noise=0.3)
    config = SolverConfig(grid="6x4", tolerance=1e-10, iterations=60, mean=0)
    plain = solve(scene.problem, config)
    # The same video seen from elsewhere, started from other poses, its depth in other units.
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3], turn[:3, 3] = exp_rotation(normal(3)), normal(3)
    m = scene.problem.matches
    scaled = Matches(**{**vars(m), "d_i": m.d_i * 7, "d_j": m.d_j * 7})
    start = turn @ scene.poses
    start[:, :3, 3] *= 7
    other = solve(replace(scene.problem, matches=scaled, poses=start), config)
    assert other.cost == pytest.approx(plain.cost, rel=1e-7)
    assert position_error(other.poses, plain.poses) < 1e-4
    path = plain.poses[:, :3, 3]
    torch.testing.assert_close(other.poses[:, :3, 3] / 7, path, rtol=1e-3, atol=2e-3 * float(path.abs().max()))


def test_progress_goes_by_stage_and_iteration():
    said: list[tuple[str, int, int]] = []
    scene = make_scene(4, 200)
    config = SolverConfig(grid="6x4", iterations=4)
    solve(scene.problem, config, progress=lambda *step: said.append(step))
    assert list(dict.fromkeys(s for s, _, _ in said)) == [s.name for s in stages(config)]
    for stage in stages(config):
        done = [d for s, d, _ in said if s == stage.name]
        assert done == sorted(done) and done[-1] == 4


def test_threads_are_given_back():
    before, seen = torch.get_num_threads(), set()
    try:
        torch.set_num_threads(2)
        problem = make_scene(3, 60).problem
        solve(problem, SolverConfig(grid="1x1"), progress=lambda *_: seen.add(torch.get_num_threads()))
        assert seen == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# ---- odd input


def test_one_frame():
    none = torch.zeros(0, dtype=torch.float64)
    empty = Matches(none.long(), none.long(), *(none.reshape(0, 2),) * 2, *(none,) * 4)
    solution = solve(Problem(1, 64, 36, empty, 50.0))
    torch.testing.assert_close(solution.poses, torch.eye(4, dtype=torch.float64)[None])
    depth = torch.tensor([[1.0, 0.0], [2.0, float("nan")]])
    assert solution.depth(0, depth).tolist() == [[1.0, 0.0], [2.0, 0.0]]
    with pytest.raises(InputError, match=r"expected 0 \.\. 0, got 1"):
        solution.depth(1, depth)
    with pytest.raises(ShapeError, match="initial"):
        solution.depth(0, depth[0])
    with pytest.raises(InputError, match="expected some between the 2 frames, got none"):
        Problem(2, 64, 36, empty, 50.0)


def test_two_frames():
    scene = make_scene(2, 400, guess=1.0, deform=0.0)
    solution = solve(scene.problem, SolverConfig(focal="fixed", grid="6x4"))
    a, b = solution.poses[1, :3, 3], scene.poses[1, :3, 3]
    assert float(a @ b / a.norm() / b.norm()) > 0.999
    turn = solution.poses[1, :3, :3].T @ scene.poses[1, :3, :3]
    assert Rotation.from_matrix(turn.numpy()).magnitude() < 1e-3


def test_a_frame_without_matches_lies_between_its_neighbours():
    pairs = [p for p in hierarchical(8) if 4 not in p]
    scene = make_scene(8, 400, pairs=pairs)
    solution = solve(scene.problem, SolverConfig(grid="6x4"))
    assert solution.component.tolist() == [0, 0, 0, 0, 4, 0, 0, 0]
    middle = (solution.poses[3, :3, 3] + solution.poses[5, :3, 3]) / 2
    torch.testing.assert_close(solution.poses[4, :3, 3], middle)
    known = torch.tensor([0, 1, 2, 3, 5, 6, 7])
    assert position_error(solution.poses[known], scene.poses[known]) < 0.01


def test_a_cut_makes_two_components():
    pairs = [p for p in hierarchical(8) if (p[0] < 4) == (p[1] < 4)]
    scene = make_scene(8, 400, pairs=pairs)
    solution = solve(scene.problem, SolverConfig(grid="6x4"))
    assert solution.component.tolist() == [0] * 4 + [4] * 4
    for part in (slice(0, 4), slice(4, 8)):
        assert position_error(solution.poses[part], scene.poses[part]) < 0.03


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_a_static_camera_stays_where_it_is(shift):
    scene = make_scene(8, 400, travel=0, turn=0, shift=shift, noise=0.3)
    solution = solve(scene.problem, SolverConfig(grid="6x4"))
    assert float(solution.poses[:, :3, 3].norm(dim=1).max()) < 0.02 * float(scene.depth.median())
    assert Rotation.from_matrix(solution.poses[:, :3, :3].numpy()).magnitude().max() < 0.01


def test_a_camera_that_only_turns():
    scene = make_scene(10, 400, travel=0, noise=0.3)
    solution = solve(scene.problem, SolverConfig(grid="6x4"))
    turn = solution.poses[:, :3, :3].mT @ scene.poses[:, :3, :3]
    assert Rotation.from_matrix(turn.numpy()).magnitude().max() < 0.01
    assert float(solution.poses[:, :3, 3].norm(dim=1).max()) < 0.02 * float(scene.depth.median())


def test_matches_that_fit_no_camera_are_an_error():
    scene = make_scene(6, 300, outliers=1.0)
    with pytest.raises(SolveError, match="% of the matches fit the cameras; at least 10 % must"):
        solve(scene.problem, SolverConfig(grid="6x4"))


def test_depth_beyond_numbers_is_an_error():
    scene = make_scene(4, 100)
    m = scene.problem.matches
    problem = replace(scene.problem, matches=Matches(**{**vars(m), "d_i": m.d_i * 1e306, "d_j": m.d_j * 1e-306}))
    with pytest.raises(SolveError):
        solve(problem)


def test_points_behind_the_camera_are_dropped_and_counted():
    scene = make_scene(4, 200)
    state = around(scene, "1x1")
    config = SolverConfig()
    objective, _ = setting(scene, config, state)
    away = replace(state, center=state.center.index_add(0, torch.tensor([2]), torch.tensor([[0, 0, 50.0]]).double()))
    into = int((scene.problem.matches.j == 2).sum())
    cost = objective.cost(away)
    assert cost.dropped == into and cost.value > objective.cost(state).value
    # Their derivatives are none: those of frame 2 come from the matches that leave it.
    only = scene.problem.matches.take(scene.problem.matches.j == 2)
    alone, layout = setting(replace(scene, problem=replace(scene.problem, matches=only)), config, away)
    assert float(alone.linearise(away).slope[2, : layout.header].abs().max()) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"i": torch.tensor([9])}, r"expected frames 0 \.\. 2, got"),
        ({"i": torch.tensor([1])}, "a frame matched with itself"),
        ({"d_i": torch.tensor([-1.0])}, "expected positive depths d_i, got -1"),
        ({"d_j": torch.tensor([float("nan")])}, "expected positive depths d_j, got nan"),
        ({"d_j": torch.tensor([float("inf")])}, "expected positive depths d_j, got inf"),
        ({"x_j": torch.tensor([[float("nan"), 0.0]])}, "expected finite x_j"),
        ({"sigma": torch.tensor([0.0])}, "sigma > 0"),
        ({"weight": torch.tensor([0.0])}, "weight above 0"),
    ],
)
def test_wrong_matches(change, words):
    good = {
        "i": torch.tensor([0]), "j": torch.tensor([1]), "x_i": torch.ones(1, 2), "x_j": torch.ones(1, 2),
        "d_i": torch.ones(1), "d_j": torch.ones(1), "weight": torch.ones(1), "sigma": torch.ones(1),
    }  # fmt: skip
    Problem(3, 64, 36, Matches(**good), 50.0)
    with pytest.raises(InputError, match=words):
        Problem(3, 64, 36, Matches(**{**good, **change}), 50.0)
    with pytest.raises(ShapeError, match="x_i"):
        Matches(**{**good, "x_i": torch.ones(2)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": "5x5"}, "grid: expected one of 1x1, 6x4, 12x7, 17x10, got '5x5'"),
        ({"sigma_z": 0.0}, "sigma_z: expected more than 0"),
        ({"coarse": -1}, "coarse: expected 0 or more"),
        ({"iterations": 0}, "iterations: expected 1 or more"),
    ],
)
def test_wrong_switches(change, words):
    with pytest.raises(InputError, match=words):
        SolverConfig(**change)


def test_the_median_needs_depth():
    scene = make_scene(3, 100, shift=0.5)
    with pytest.raises(InputError, match="gauge: expected first"):
        solve(scene.problem, SolverConfig(gauge="median"))
