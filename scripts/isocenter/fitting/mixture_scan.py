"""Where the search of a `mixture` starts: the tops along the share, and the optimum that is the best of both sides."""

import numpy as np

from isocenter.fitting.mixture import GROUP
from isocenter.fitting.mixture_lanes import LANES, climb
from isocenter.models.compiled import vector_kernel

#: Tops from which an optimum is sought.
CANDIDATES = 2
#: A second top is followed where it leaves no more than this many times what the first leaves, and this share of the
#: signal's sum of squares, which is what the nodes are coarse by.
_HOPELESS, _COARSE = 3.0, 1e-2
#: The last step but one may lower the sum of squares by this fraction; Newton's method squares what is left.
_EXACT = 1e-7


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
        image = find_mirror(mixture, theta[v, 0]) - theta[v, 1]
        if is_alone[v] and is_settled[v] and mixture.lower[1] < image < mixture.upper[1]:
            voxel[tasks], decay[tasks], share[tasks] = v, theta[v, 0], image
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

    voxel, decay, share : (CANDIDATES v,), is_alone : (v,), whether there is one top only; written
    """
    count, n = signal.shape
    levels, inner, filled = mixture.unit.shape
    samples = np.zeros((filled, LANES))
    height = np.zeros(LANES)
    top, at = np.zeros((levels, LANES)), np.zeros((levels, LANES))
    first, first_at, second, second_at = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    tasks = 0
    for begin in range(0, count, LANES):
        size = min(LANES, count - begin)
        for lane in range(size):
            for i in range(n):
                samples[i, lane] = signal[begin + lane, i]
        for m in range(levels):
            highest, where = top[m], at[m]
            for k in range(LANES):
                highest[k] = -1.0
                where[k] = 0.0
            for r in range(inner):
                _project(mixture.unit[m, r], samples, height)
                place = float(r)
                for k in range(LANES):
                    is_higher = height[k] > highest[k]
                    highest[k] = height[k] if is_higher else highest[k]
                    where[k] = place if is_higher else where[k]
        for k in range(LANES):
            first[k] = -1.0
            first_at[k] = 0.0
            second[k] = -1.0
            second_at[k] = 0.0
        for m in range(levels):
            here, before, after = top[m], top[max(m - 1, 0)], top[min(m + 1, levels - 1)]
            level = float(m)
            for k in range(LANES):
                x = here[k] if (here[k] >= before[k]) & (here[k] >= after[k]) else -1.0
                is_first, is_second = x > first[k], x > second[k]
                second[k] = first[k] if is_first else (x if is_second else second[k])
                second_at[k] = first_at[k] if is_first else (level if is_second else second_at[k])
                first[k] = x if is_first else first[k]
                first_at[k] = level if is_first else first_at[k]
        for lane in range(size):
            v = begin + lane
            total = 0.0
            for i in range(n):
                total += samples[i, lane] * samples[i, lane]
            for candidate in range(CANDIDATES):
                if candidate == 0:
                    m = int(first_at[lane])
                else:
                    m = int(second_at[lane])
                    left, best = total - second[lane] ** 2, total - first[lane] ** 2
                    is_alone[v] = second[lane] < 0.0 or is_one_side(
                        mixture, mixture.decays[int(at[m, lane])], mixture.shares[m], mixture.shares[int(first_at[lane])]
                    )
                    if second[lane] < 0.0 or left > _HOPELESS * best + _COARSE * total:
                        continue
                voxel[tasks] = v
                share[tasks] = mixture.shares[m]
                decay[tasks] = mixture.decays[int(at[m, lane])]
                tasks += 1
    return tasks


@vector_kernel
def _project(unit, samples, height):
    """Write the part of each lane's samples (n, LANES) that lies along a unit vector (n,)."""
    for i in range(0, unit.size, GROUP):
        u0, u1, u2 = unit[i], unit[i + 1], unit[i + 2]
        y0, y1, y2 = samples[i], samples[i + 1], samples[i + 2]
        if i == 0:
            for k in range(LANES):
                height[k] = u0 * y0[k] + u1 * y1[k] + u2 * y2[k]
        else:
            for k in range(LANES):
                height[k] += u0 * y0[k] + u1 * y1[k] + u2 * y2[k]
