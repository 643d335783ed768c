"""Voxels side by side, one in each lane of an array's last axis, so that a step of all of them fills vector registers.

The number of lanes is fixed, and no lane looks at another: what is found for a voxel does not depend on its
neighbors. Lanes without a voxel hold zeros, whose results nobody reads.
"""

from isocenter.fitting.line import BEYOND, SETTLED
from isocenter.models.compiled import lean_vector_kernel

LANES = 64

_MOST_STEPS = 8
#: Guesses at a median, at most: of normal residuals the median voxel needs two to four (decision 0110).
_MOST_GUESSES = 20
#: The median of abs(x) over its root mean square, and the density there times that, x being normal.
_MEDIAN, _DENSITY = 0.6745, 0.6356
_NONE = float("inf")


@lean_vector_kernel
def spread(signal, first, y):
    """Write the samples (v, n) of the voxels from `first` on into lanes y (m, LANES); returns how many there are."""
    n = signal.shape[1]
    count = min(signal.shape[0] - first, LANES)
    for lane in range(count):
        for i in range(n):
            y[i, lane] = signal[first + lane, i]
    for lane in range(count, LANES):
        for i in range(n):
            y[i, lane] = 0.0
    return count


@lean_vector_kernel
def scan_lanes(y, unit, heights):
    """Write h (k, LANES) at every node, of samples y (m, LANES) and directions (m, k)."""
    m, k = unit.shape
    for s in range(k):
        h = heights[s]
        a, b, c, d = unit[0, s], unit[1, s], unit[2, s], unit[3, s]
        for lane in range(LANES):
            h[lane] = a * y[0, lane] + b * y[1, lane] + c * y[2, lane] + d * y[3, lane]
        for i in range(4, m, 4):
            a, b, c, d = unit[i, s], unit[i + 1, s], unit[i + 2, s], unit[i + 3, s]
            for lane in range(LANES):
                h[lane] += a * y[i, lane] + b * y[i + 1, lane] + c * y[i + 2, lane] + d * y[i + 3, lane]


@lean_vector_kernel
def find_tops(heights, best, at):
    """Write the largest |h| among the nodes (LANES,) and the number of its node, as a float."""
    for lane in range(LANES):
        best[lane] = abs(heights[0, lane])
        at[lane] = 0.0
    for s in range(1, heights.shape[0]):
        number = float(s)
        for lane in range(LANES):
            h = abs(heights[s, lane])
            is_higher = h > best[lane]
            at[lane] = number if is_higher else at[lane]
            best[lane] = h if is_higher else best[lane]


@lean_vector_kernel
def turn_sign(x, unit, heights, best, at):
    """As `find_tops` after a sample x (LANES,), whose row of the directions is unit (k,), has changed its sign."""
    for lane in range(LANES):
        best[lane] = -1.0
        at[lane] = 0.0
    for s in range(heights.shape[0]):
        number = float(s)
        twice = 2.0 * unit[s]
        for lane in range(LANES):
            h = heights[s, lane] - twice * x[lane]
            heights[s, lane] = h
            h = abs(h)
            is_higher = h > best[lane]
            at[lane] = number if is_higher else at[lane]
            best[lane] = h if is_higher else best[lane]


@lean_vector_kernel
def guess_tops(nodes, heights, at, count, u):
    """Write where the curve through the nodes around the highest one has its top (LANES,).

    Through five nodes where there are as many, one step of Newton's method from the top of the parabola through three.
    """
    k = nodes.size
    for lane in range(count):
        s = int(at[lane])
        u[lane] = nodes[s]
        if s == 0 or s == k - 1:
            continue
        middle = heights[s, lane]
        odd = heights[s + 1, lane] - heights[s - 1, lane]
        even = heights[s + 1, lane] + heights[s - 1, lane] - 2.0 * middle
        if not even * middle < 0.0:
            continue
        x = -0.5 * odd / even
        if 1 < s < k - 2:
            far_odd = heights[s + 2, lane] - heights[s - 2, lane]
            far_even = heights[s + 2, lane] + heights[s - 2, lane] - 2.0 * middle
            d1 = (8.0 * odd - far_odd) / 12.0
            d2 = (16.0 * even - far_even) / 12.0
            d3 = 0.5 * far_odd - odd
            d4 = far_even - 4.0 * even
            bend = d2 + x * (d3 + x * 0.5 * d4)
            if bend * middle < 0.0:
                x -= (d1 + x * (d2 + x * (0.5 * d3 + x * d4 / 6.0))) / bend
                x = min(max(x, -0.7), 0.7)
        u[lane] = between(nodes, s, x)


@lean_vector_kernel
def between(nodes, s, x):
    """Where x nodes beyond node s lies: on the cubic, or the parabola, through those around; they need not be even."""
    below, here, above = nodes[s - 1], nodes[s], nodes[s + 1]
    u = here + 0.5 * x * (above - below + x * (above + below - 2.0 * here))
    if 1 < s < nodes.size - 2:
        # The mean of the cubics through the two next on either side.
        third = 0.5 * (nodes[s + 2] - nodes[s - 2]) - (above - below)
        u += x * (x * x - 1.0) * third / 6.0
    return u


@lean_vector_kernel
def enter_cells(direction, lower, width, y, u, wanted, count, cell, t, sums):
    """Write for coordinates u (LANES,) their cells, the places t within, and the coefficients of h there (8, LANES).

    wanted : (LANES,), only lanes where it is above 0 are looked at
    """
    cells = direction.shape[0]
    for lane in range(count):
        if wanted[lane] == 0.0:
            continue
        x = (u[lane] - lower) / width
        c = min(max(int(x), 0), cells - 1)
        cell[lane] = c
        t[lane] = 2.0 * (x - c) - 1.0
        a0, a1, a2, a3, a4, a5, a6, a7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        b0, b1, b2, b3, b4, b5, b6, b7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        # Two sums side by side: one alone waits for itself. Samples are padded to a multiple of four.
        for i in range(0, y.shape[0], 2):
            x, z = y[i, lane], y[i + 1, lane]
            a0 += x * direction[c, i, 0]
            a1 += x * direction[c, i, 1]
            a2 += x * direction[c, i, 2]
            a3 += x * direction[c, i, 3]
            a4 += x * direction[c, i, 4]
            a5 += x * direction[c, i, 5]
            a6 += x * direction[c, i, 6]
            a7 += x * direction[c, i, 7]
            b0 += z * direction[c, i + 1, 0]
            b1 += z * direction[c, i + 1, 1]
            b2 += z * direction[c, i + 1, 2]
            b3 += z * direction[c, i + 1, 3]
            b4 += z * direction[c, i + 1, 4]
            b5 += z * direction[c, i + 1, 5]
            b6 += z * direction[c, i + 1, 6]
            b7 += z * direction[c, i + 1, 7]
        a0, a1, a2, a3 = a0 + b0, a1 + b1, a2 + b2, a3 + b3
        a4, a5, a6, a7 = a4 + b4, a5 + b5, a6 + b6, a7 + b7
        sums[0, lane], sums[1, lane], sums[2, lane], sums[3, lane] = a0, a1, a2, a3
        sums[4, lane], sums[5, lane], sums[6, lane], sums[7, lane] = a4, a5, a6, a7


@lean_vector_kernel
def climb_lanes(sums, t, height, is_moving):
    """Newton's method to the top of |h| in every lane's cell: moves t, and writes h there.

    is_moving : (LANES,), written: 0 where the top was reached. A lane that is there, or left its cell, stays as it is.
    """
    for lane in range(LANES):
        is_moving[lane] = 1.0
    for _ in range(_MOST_STEPS):
        moving = 0.0
        for lane in range(LANES):
            x = t[lane]
            h = sums[7, lane]
            h1 = h
            h = h * x + sums[6, lane]
            h2 = h1
            h1 = h1 * x + h
            h = h * x + sums[5, lane]
            h2 = h2 * x + h1
            h1 = h1 * x + h
            h = h * x + sums[4, lane]
            h2 = h2 * x + h1
            h1 = h1 * x + h
            h = h * x + sums[3, lane]
            h2 = h2 * x + h1
            h1 = h1 * x + h
            h = h * x + sums[2, lane]
            h2 = h2 * x + h1
            h1 = h1 * x + h
            h = h * x + sums[1, lane]
            h2 = h2 * x + h1
            h1 = h1 * x + h
            h = h * x + sums[0, lane]
            # Where |h| is not concave Newton's method leads nowhere: out of the cell.
            step = -0.5 * h1 / h2 if h * h2 < 0.0 else 9.0
            may_move = (is_moving[lane] > 0.0) & (abs(x) <= BEYOND)
            t[lane] = x + step if may_move else x
            height[lane] = h if may_move else height[lane]
            goes_on = 1.0 if abs(step) >= SETTLED else 0.0
            is_moving[lane] = goes_on if may_move else is_moving[lane]
        for lane in range(LANES):
            moving += 1.0 if (is_moving[lane] > 0.0) & (abs(t[lane]) <= BEYOND) else 0.0
        if moving == 0.0:
            break


@lean_vector_kernel
def sort_lanes(x, n):
    """Sort the first n rows of x (m, LANES) in every lane: Batcher's merge exchange, the same steps for all."""
    first = 1
    while 2 * first < n:
        first *= 2
    p = first
    while p > 0:
        q, r, d = first, 0, p
        while True:
            for i in range(n - d):
                if i & p == r:
                    for lane in range(LANES):
                        a, b = x[i, lane], x[i + d, lane]
                        x[i, lane] = a if a < b else b
                        x[i + d, lane] = b if a < b else a
            if q == p:
                break
            d = q - p
            q //= 2
            r = p
        p //= 2


@lean_vector_kernel
def find_middle(x, n, low, high, typical, wanted, room, middle):
    """Write the mean of those at places `low` and `high` in the order of the first n of x (m, LANES), all at least 0.

    high : low or low + 1; places count from 0
    typical : (LANES,), the root mean square of x or so
    wanted : (LANES,), only lanes where it is above 0 are written
    room : (8 * LANES,), scratch

    By counting those up to a guess, which says where to guess next: of 150 that takes a fifth of sorting's time.
    Where some are alike no guess may part them: x is sorted then, in all lanes.
    """
    for lane in range(LANES):
        room[lane] = _MEDIAN * typical[lane]
        room[lane + 2 * LANES] = 1.0 if wanted[lane] > 0.0 else 0.0
        room[lane + 3 * LANES], room[lane + 4 * LANES] = 0.0, 0.0
        room[lane + 5 * LANES], room[lane + 6 * LANES] = _NONE, _NONE
        room[lane + 7 * LANES] = typical[lane] / (n * _DENSITY)
    up_to, is_single = float(low + 1), low == high
    opened = 1.0
    for _ in range(_MOST_GUESSES):
        _count_up_to(x, n, room)
        for lane in range(LANES):
            t, c, is_open = room[lane], room[lane + LANES], room[lane + 2 * LANES]
            below, fewer = room[lane + 3 * LANES], room[lane + 4 * LANES]
            above, more = room[lane + 5 * LANES], room[lane + 6 * LANES]
            is_found = (c == up_to) | ((c == up_to - 1.0) & is_single)
            is_open = 0.0 if is_found else is_open
            is_less = c < up_to
            below, fewer = t if is_less else below, c if is_less else fewer
            above, more = above if is_less else t, more if is_less else c
            inside = below + (above - below) * ((up_to - fewer) / (more - fewer))
            further = t + (up_to - c) * room[lane + 7 * LANES]
            following = inside if more < _NONE else further
            room[lane] = following if is_open > 0.0 else t
            room[lane + 2 * LANES] = is_open
            room[lane + 3 * LANES], room[lane + 4 * LANES] = below, fewer
            room[lane + 5 * LANES], room[lane + 6 * LANES] = above, more
        opened = 0.0
        for lane in range(LANES):
            opened += room[lane + 2 * LANES]
        if opened == 0.0:
            break
    if opened == 0.0:
        _part(x, n, room)
        for lane in range(LANES):
            largest, smallest = room[lane + 2 * LANES], room[lane + 3 * LANES]
            first = largest if room[lane + LANES] == up_to else smallest
            second = first if is_single else smallest
            middle[lane] = 0.5 * first + 0.5 * second if wanted[lane] > 0.0 else middle[lane]
        return
    sort_lanes(x, n)
    for lane in range(LANES):
        middle[lane] = 0.5 * x[low, lane] + 0.5 * x[high, lane] if wanted[lane] > 0.0 else middle[lane]


@lean_vector_kernel
def _count_up_to(x, n, room):
    """Write how many of the first n of x (m, LANES) are at most what the first lanes of `room` hold, into the next."""
    whole = n - n % 4
    for lane in range(LANES):
        room[lane + LANES] = 0.0
    for i in range(0, whole, 4):
        for lane in range(LANES):
            t = room[lane]
            a, b = 1.0 if x[i, lane] <= t else 0.0, 1.0 if x[i + 1, lane] <= t else 0.0
            c, d = 1.0 if x[i + 2, lane] <= t else 0.0, 1.0 if x[i + 3, lane] <= t else 0.0
            room[lane + LANES] += (a + b) + (c + d)
    for i in range(whole, n):
        for lane in range(LANES):
            room[lane + LANES] += 1.0 if x[i, lane] <= room[lane] else 0.0


@lean_vector_kernel
def _part(x, n, room):
    """Write the largest of the first n of x (m, LANES) up to the first lanes of `room`, and the smallest beyond.

    Into the third and the fourth LANES of it; the two after those are turns of the search: in place the compiler would
    store only where something is larger, which takes longer.
    """
    for lane in range(LANES):
        room[lane + 2 * LANES] = 0.0
        room[lane + 3 * LANES] = _NONE
    for i in range(n):
        of, to = 2 * LANES + i % 2 * 2 * LANES, 4 * LANES - i % 2 * 2 * LANES
        for lane in range(LANES):
            own, t = x[i, lane], room[lane]
            is_up_to = own <= t
            room[lane + to] = max(own if is_up_to else 0.0, room[lane + of])
            room[lane + to + LANES] = min(_NONE if is_up_to else own, room[lane + of + LANES])
    if n % 2:
        for lane in range(2 * LANES, 4 * LANES):
            room[lane] = room[lane + 2 * LANES]
