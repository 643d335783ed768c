"""Many independent computations on several processes, their answers in order."""

import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

_TASK: list[Callable[[int], Any]] = []


def _call(index: int) -> Any:
    return _TASK[-1](index)


def run_in_order(task: Callable[[int], Any], count: int, workers: int = 1) -> Iterator[Any]:
    """task(0), task(1), … as they come, in order; with several workers in forked processes, which share the data.

    Where processes cannot be forked, one does all.
    """
    if workers < 2 or count < 2 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(task, range(count))
        return
    _TASK.append(task)
    try:
        with multiprocessing.get_context("fork").Pool(min(workers, count)) as pool:
            yield from pool.imap(_call, range(count), chunksize=max(1, min(8, count // (4 * workers))))
    finally:
        _TASK.pop()
