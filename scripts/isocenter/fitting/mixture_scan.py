"""Where the search of a `mixture` starts: the tops along the share, and the optimum that is the best of both sides."""

import numpy as np

from isocenter.fitting.mixture import GROUP, LEVELS
from isocenter.fitting.mixture_lanes import climb
from isocenter.models.compiled import vector_kernel

#: Tops from which an optimum is sought.
CANDIDATES = 2
#: A second top is followed where it leaves no more than this many times what the first leaves, and this share of the
#: signal's sum of squares, which is what the nodes are coarse by.
_HOPELESS, _COARSE = 3.0, 1e-2
#: The last step but one may lower the sum of squares by this fraction; Newton's method squares what is left.
_EXACT = 1e-7
#: How far beyond the image of an optimum the other one is sought, and how far outside of the box an image may lie for
#: the end of the box to be tried instead.
_BEYOND, _OUTSIDE = 0.02, 0.15
#: An optimum and its image this close together lie beside the ridge.
_CLOSE = 0.08


@vector_kernel
def start_mixture(mixture, signal, theta, is_settled):
    """Write theta (v, 2), the least-squares optimum of each signal (v, n), and where it was reached inside the box."""
    count = signal.shape[0]
    most = CANDIDATES * count
    voxel, dropped = np.empty(most, np.int64), np.full(most, -1, np.int64)
    decay, share, cost = np.empty(most), np.empty(most), np.empty(most)
    least = np.full(count, np.inf)
    is_alone = np.zeros(count, np.bool_)
    for v in range(count):
        is_settled[v] = True
    tasks = scan(mixture, signal, voxel, decay, share, is_alone)
    climb(mixture, signal, tasks, voxel, decay, share, dropped, cost, _EXACT)
    choose(tasks, voxel, decay, share, cost, theta, least, is_settled)
    for task in range(1, tasks):
        v = voxel[task]
        is_alone[v] |= voxel[task - 1] == v and is_one_side(mixture, theta[v, 0], share[task - 1], share[task])
    # Two optima between two levels look like one top: what lies across is sought there.
    tasks = 0
    for v in range(count):
        if not (is_alone[v] and is_settled[v]):
            continue
        image = find_image(mixture, theta[v, 0], theta[v, 1])
        if np.isfinite(image):
            voxel[tasks], decay[tasks], share[tasks] = v, theta[v, 0], image
            tasks += 1
        # So close to the ridge, whose place is known about: the other way, too.
        other = 2.0 * theta[v, 1] - image
        if abs(image - theta[v, 1]) < _CLOSE and mixture.lower[1] < other < mixture.upper[1]:
            voxel[tasks], decay[tasks], share[tasks] = v, theta[v, 0], other
            tasks += 1
    climb(mixture, signal, tasks, voxel, decay, share, dropped, cost, _EXACT)
    choose(tasks, voxel, decay, share, cost, theta, least, is_settled)
    for v in range(count):
        is_settled[v] &= mixture.lower[1] < theta[v, 1] < mixture.upper[1]


@vector_kernel
def find_mirror(mixture, decay):
    """What a share and its image on the other side add up to."""
    k = 0
    while k < mixture.decays.size - 1 and abs(mixture.decays[k + 1] - decay) < abs(mixture.decays[k] - decay):
        k += 1
    return mixture.mirror[k]


@vector_kernel
def find_image(mixture, decay, share):
    """Where on the other side to look for an optimum; NaN where that is outside of the box."""
    mirror = find_mirror(mixture, decay)
    # A little beyond the image, lest it lie on the ridge between two close optima.
    image = mirror - share + (_BEYOND if 2.0 * share < mirror else -_BEYOND)
    low, high = mixture.lower[1], mixture.upper[1]
    return min(max(image, low), high) if low - _OUTSIDE < image < high + _OUTSIDE else np.nan


@vector_kernel
def is_one_side(mixture, decay, share, other):
    """Whether two shares lie on one side of where both sides meet."""
    mirror = find_mirror(mixture, decay)
    return (2.0 * share - mirror) * (2.0 * other - mirror) > 0.0


@vector_kernel
def choose(tasks, voxel, decay, share, cost, theta, least, is_settled):
    """Write the better of what was and of what the tasks found; one that led nowhere leaves the voxel unsettled."""
    for task in range(tasks):
        v = voxel[task]
        is_settled[v] &= cost[task] < np.inf
        if cost[task] < least[v]:
            least[v] = cost[task]
            theta[v, 0], theta[v, 1] = decay[task], share[task]


@vector_kernel
def scan(mixture, signal, voxel, decay, share, is_alone):
    """Write the tasks of all signals (v, n), those of one voxel side by side, and return how many there are.

    voxel, decay, share : (CANDIDATES v,), is_alone : (v,), whether no top lies on the other side; written
    """
    count, n = signal.shape
    inner = mixture.decays.size
    height = np.zeros(inner * LEVELS, np.float32)
    y = np.zeros(mixture.unit.shape[0], np.float32)
    top = np.zeros(LEVELS, np.float32)
    edge = np.zeros(LEVELS + 1, np.int64)
    tasks = 0
    for v in range(count):
        total = 0.0
        largest = 0.0
        for i in range(n):
            total += signal[v, i] * signal[v, i]
            largest = max(largest, signal[v, i])
        # Single numbers rank nodes well enough, if they are neither tiny nor huge.
        unit = 1.0 / largest if largest > 0.0 else 0.0
        for i in range(n):
            y[i] = signal[v, i] * unit
        project(mixture.unit, y, height)
        first, second = find_tops(height, top, edge)
        is_alone[v] = True
        for candidate in range(CANDIDATES):
            m = first if candidate == 0 else second
            if m < 0:
                continue
            r = 0
            for k in range(1, inner):
                if height[k * LEVELS + m] > height[r * LEVELS + m]:
                    r = k
            if candidate > 0:
                is_alone[v] = is_one_side(mixture, mixture.decays[r], mixture.shares[m], mixture.shares[first])
                left, best = total - (top[m] * largest) ** 2, total - (top[first] * largest) ** 2
                if left > _HOPELESS * best + _COARSE * total:
                    continue
            voxel[tasks] = v
            share[tasks] = mixture.shares[m]
            decay[tasks] = mixture.decays[r]
            tasks += 1
    return tasks


@vector_kernel
def find_tops(height, top, edge):
    """The two highest tops over the levels, -1 where there is only one; heights (m LEVELS,) of all nodes.

    top : (LEVELS,), the highest on each level, written; edge : (LEVELS + 1,) of scratch
    """
    for m in range(LEVELS):
        top[m] = height[m]
    for r in range(LEVELS, height.size, LEVELS):
        here = height[r : r + LEVELS]
        for m in range(LEVELS):
            top[m] = max(top[m], here[m])
    tops = 0
    for m in range(LEVELS):
        edge[tops] = m
        tops += (top[m] >= top[max(m - 1, 0)]) & (top[m] >= top[min(m + 1, LEVELS - 1)])
    first, second = edge[0], -1
    for k in range(1, tops):
        m = edge[k]
        if top[m] > top[first]:
            second, first = first, m
        elif second < 0 or top[m] > top[second]:
            second = m
    return first, second


@vector_kernel
def project(unit, y, height):
    """Write the part of y (n filled up,) that lies along the unit vectors unit (n filled up, nodes)."""
    for i in range(0, y.size, GROUP):
        y0, y1, y2, y3, y4, y5 = y[i], y[i + 1], y[i + 2], y[i + 3], y[i + 4], y[i + 5]
        if i == 0:
            for s in range(height.size):
                height[s] = (
                    y0 * unit[i, s] + y1 * unit[i + 1, s] + y2 * unit[i + 2, s]
                    + y3 * unit[i + 3, s] + y4 * unit[i + 4, s] + y5 * unit[i + 5, s]
                )  # fmt: skip
        else:
            for s in range(height.size):
                height[s] += (
                    y0 * unit[i, s] + y1 * unit[i + 1, s] + y2 * unit[i + 2, s]
                    + y3 * unit[i + 3, s] + y4 * unit[i + 4, s] + y5 * unit[i + 5, s]
                )  # fmt: skip
