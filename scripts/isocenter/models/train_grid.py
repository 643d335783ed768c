"""Echo trains on all nodes of a grid, from which a search starts: values alone, no slopes."""

import numpy as np

from isocenter.models.compiled import kernel
from isocenter.models.echo_train import read_profile, trace_echoes

#: Where the description of the profile starts among the constants; its first number is 0 where there is none.
PROFILE = 6


@kernel
def sum_slice(w, excitation, echo_spacing, t1, t2, state, echo):
    """The echoes of `trace_slice` to the bit, without their slopes: a third of the work.

    state : (3, 2 m + 2, s) scratch; echo : (m,) array, written
    """
    m = echo.size
    r = echo_spacing / t2
    e1 = np.exp(-echo_spacing / t1)
    e2 = np.exp(-r)
    half = np.exp(-0.5 * r)
    state[:] = 0.0
    state[0, m] = half
    for k in range(m):
        origin = m - k
        for j in range(min(k, m - 1 - k) + 1):
            fp, fm, z = state[0, origin + j], state[1, k + j], state[2, j]
            for i in range(w.size):
                v = w[i]
                g = 4.0 * v * (1.0 - v)
                c = 2.0 * v - 1.0
                a, b, s = fp[i], fm[i], z[i]
                d = a - b
                h = v * d + g * s
                fp[i] = e2 * (b + h)
                fm[i] = e2 * (a - h)
                z[i] = e1 * (c * s - 0.5 * d)
        total = 0.0
        for i in range(w.size):
            fm = state[1, k, i]
            total += excitation[i] * fm
            state[0, origin - 1, i] = fm
        echo[k] = total / half


@kernel
def tabulate_trains(grid, design, constants, basis):
    """Write the basis (q, n, g) of `evaluate_echo_train` on every node (g, p): to the bit, quicker.

    Nodes that differ by their floor alone, which changes fastest, share their train; across a profile there are no
    slopes to compute.
    """
    spacing, t1, m = constants[0], constants[1], int(constants[3])
    positions = int(constants[PROFILE])
    local = np.empty((4, positions))
    state, echoes = np.empty((3, 2 * m + 2, positions)), np.empty(m)
    plain, slopes = np.empty((9, 2 * m + 2)), np.empty((2, m))
    for s in range(grid.shape[0]):
        if s == 0 or grid[s, 0] != grid[s - 1, 0] or grid[s, 1] != grid[s - 1, 1]:
            decay = (1.0 - constants[4]) * np.exp(-grid[s, 0])
            t2 = 1.0 / (decay + constants[4] / t1)
            if positions == 0:
                trace_echoes(grid[s, 1], spacing, t1, t2, plain, echoes, slopes[0], slopes[1])
            else:
                read_profile(constants[PROFILE:], grid[s, 1], local)
                sum_slice(local[0], local[1], spacing, t1, t2, state, echoes)
        squared = np.exp(2.0 * grid[s, 2]) if grid.shape[1] == 3 else 0.0
        for i in range(design.shape[1]):
            echo = echoes[int(design[0, i]) - 1]
            basis[0, i, s] = np.sqrt(echo**2 + squared) if grid.shape[1] == 3 else echo
            if basis.shape[0] == 2:
                basis[1, i, s] = 1.0
