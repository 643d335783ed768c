"""One of a few candidates for each voxel, such that neighbors agree: a Markov random field on the voxels' faces.

The surest voxels commit first and their neighbors then lean on them (highest confidence first, Chou and Brown 1990,
Int. J. Comput. Vision 4:185); iterated conditional modes (Besag 1986, J. R. Stat. Soc. B 48:259) settle what
came too early.
"""

import heapq

import numpy as np

from isocenter.models.compiled import kernel

_MOST_SWEEPS = 50


@kernel
def _distance(a, b, period):
    """The distance of two fields [Hz] on a circle of `period`, or on the line where that is infinite."""
    d = abs(a - b)
    if np.isfinite(period):
        d -= period * np.floor(d / period)
        d = min(d, period - d)
    return d


@kernel
def _price(v, neighbors, candidates, cost, weight, choice, period, scale, most, price):
    """Write what each candidate of voxel v costs (k,) beside its committed neighbors; returns the best and the gap."""
    best = 0
    for k in range(candidates.shape[1]):
        price[k] = cost[v, k]
        if not np.isfinite(price[k]):
            continue
        for m in range(neighbors.shape[1]):
            w = neighbors[v, m]
            if w < 0 or choice[w] < 0:
                continue
            d = _distance(candidates[v, k], candidates[w, choice[w]], period) / scale
            price[k] += min(weight[v], weight[w]) * min(d * d, most)
        if price[k] < price[best]:
            best = k
    gap = np.inf
    for k in range(candidates.shape[1]):
        if k != best:
            gap = min(gap, price[k] - price[best])
    return best, gap


@kernel
def choose_labels(neighbors, candidates, cost, weight, period, scale, most):
    """The candidate that each voxel takes.

    neighbors : (v, 6) integers, -1 for none; candidates : (v, k) [Hz]; cost : (v, k), infinite for no candidate
    weight : (v,), how much a voxel's neighborhood counts; scale [Hz] : of differences between neighbors
    most : the largest price of one difference, in units of half a squared scale
    Returns (v,) integers.
    """
    count = candidates.shape[0]
    choice = np.full(count, -1, np.int64)
    gaps = np.empty(count, np.float32)
    price = np.empty(candidates.shape[1])
    # Single precision: the heap is the largest thing in memory here.
    heap = [(np.float32(0.0), np.int32(-1))]
    heap.pop()
    for v in range(count):
        _, gaps[v] = _price(v, neighbors, candidates, cost, weight, choice, period, scale, most, price)
        heap.append((-gaps[v], np.int32(v)))
    heapq.heapify(heap)
    while len(heap) > 0:
        key, v = heapq.heappop(heap)
        if choice[v] >= 0:
            continue
        if -key > gaps[v]:
            # It has become less sure since: back into the queue.
            heapq.heappush(heap, (-gaps[v], np.int32(v)))
            continue
        choice[v], _ = _price(v, neighbors, candidates, cost, weight, choice, period, scale, most, price)
        for m in range(neighbors.shape[1]):
            w = neighbors[v, m]
            if w >= 0 and choice[w] < 0:
                before = gaps[w]
                _, gaps[w] = _price(w, neighbors, candidates, cost, weight, choice, period, scale, most, price)
                if gaps[w] > before:
                    heapq.heappush(heap, (-gaps[w], np.int32(w)))
    for _ in range(_MOST_SWEEPS):
        is_changed = False
        for v in range(count):
            best, _ = _price(v, neighbors, candidates, cost, weight, choice, period, scale, most, price)
            if best != choice[v]:
                choice[v] = best
                is_changed = True
        if not is_changed:
            break
    return choice
