"""What kernels pass among themselves: the problem (same for all voxels) and the solution (of one voxel)."""

from typing import Any, NamedTuple

import numpy as np

from isocenter.fitting.plane import expand_plane
from isocenter.models.compiled import kernel


class Problem(NamedTuple):
    """A separable model as kernels see it; p nonlinear parameters, q amplitudes, n samples, g grid nodes.

    lower, upper : (p,); is_hard : (p, 2); visible : (p, 2); design : (m, n); constants : (k,)
    grid : (g, p); grid_basis : (q, n, g), the basis on every node; is_magnitude : whether signs were lost
    grid_unit : (q, n, g), the same made orthonormal on every node, where all voxels share it; else empty
    varying_index : (m,), the constants that differ from voxel to voxel
    plane, plane_lower, plane_width : a `plane` that stands for the model's own basis; empty where there is none
    """

    lower: np.ndarray
    upper: np.ndarray
    is_hard: np.ndarray
    visible: np.ndarray
    design: np.ndarray
    constants: np.ndarray
    grid: np.ndarray
    grid_basis: np.ndarray
    grid_unit: np.ndarray
    is_magnitude: bool
    varying_index: np.ndarray
    plane: np.ndarray
    plane_lower: np.ndarray
    plane_width: np.ndarray


class Solution(NamedTuple):
    """One point in the parameter space: theta (p,), amplitudes (q,), basis (q, n) and slope (p, q, n) there."""

    theta: Any
    amplitudes: Any
    basis: Any
    slope: Any


@kernel
def make_solution(p, q, n):
    """An empty solution."""
    return Solution(np.zeros(p), np.zeros(q), np.zeros((q, n)), np.zeros((p, q, n)))


@kernel
def own_constants(problem):
    """The same problem with constants of its own, which may be written voxel by voxel."""
    return Problem(
        problem.lower,
        problem.upper,
        problem.is_hard,
        problem.visible,
        problem.design,
        problem.constants.copy(),
        problem.grid,
        problem.grid_basis,
        problem.grid_unit,
        problem.is_magnitude,
        problem.varying_index,
        problem.plane,
        problem.plane_lower,
        problem.plane_width,
    )


@kernel
def evaluate_at(evaluate, problem, theta, solution):
    """Write the solution's basis and slope at theta (p,): from the plane where there is one."""
    if problem.plane.size > 0:
        expand_plane(problem.plane, problem.plane_lower, problem.plane_width, theta, solution.basis, solution.slope)
    else:
        evaluate(theta, problem.design, problem.constants, solution.basis, solution.slope)


@kernel
def copy_solution(target, source):
    """Overwrite one solution with another; loops, since array assignment compiles slowly."""
    p, q, n = source.slope.shape
    for j in range(p):
        target.theta[j] = source.theta[j]
        for k in range(q):
            for i in range(n):
                target.slope[j, k, i] = source.slope[j, k, i]
    for k in range(q):
        target.amplitudes[k] = source.amplitudes[k]
        for i in range(n):
            target.basis[k, i] = source.basis[k, i]


@kernel
def predict_sample(solution, i):
    """The signal of sample i."""
    f = 0.0
    for k in range(solution.amplitudes.size):
        f += solution.amplitudes[k] * solution.basis[k, i]
    return f


@kernel
def tabulate_grid(evaluate, problem):
    """Fill `grid_basis`: the basis on every node."""
    g = problem.grid.shape[0]
    q, n, _ = problem.grid_basis.shape
    node = make_solution(problem.lower.size, q, n)
    for s in range(g):
        for j in range(problem.lower.size):
            node.theta[j] = problem.grid[s, j]
        evaluate_at(evaluate, problem, node.theta, node)
        for k in range(q):
            for i in range(n):
                problem.grid_basis[k, i, s] = node.basis[k, i]
