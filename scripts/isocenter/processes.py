"""Processes of our own: ending with the one that started us, and many independent computations side by side."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

#: From linux/prctl.h: the signal that a process gets when its parent dies.
PR_SET_PDEATHSIG = 1

_TASK: list[Callable[[int], Any]] = []
#: What a worker does at Ctrl-C while it computes.
_INTERRUPTED: list[Any] = []


def die_with_parent(signal_number: int, parent: int | None = None) -> None:
    """Ask the kernel to send us `signal_number` when our parent dies; elsewhere than on Linux do nothing.

    parent : the process that started us, if it is known: when it died before we asked, the signal comes at once
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal_number))
        if parent is not None and os.getppid() != parent:
            os.kill(os.getpid(), signal_number)


def run_in_order(task: Callable[[int], Any], count: int, workers: int = 1) -> Iterator[Any]:
    """task(0), task(1), … as they come, in order; with several workers in forked processes, which share the data.

    Where processes cannot be forked, one does all. What a task changes in memory, several workers keep to themselves:
    it must stand in its answer.

    Raises
    ------
    OutOfMemoryError
        When the system ended a worker.
    """
    # Here, so that who only wants to end with its parent says so at once: before that it would outlive it.
    import multiprocessing

    from isocenter.errors import OutOfMemoryError, explain
    from isocenter.trouble import MORE_MEMORY

    if workers < 2 or count < 2 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(task, range(count))
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    workers = min(workers, count)
    _TASK.append(task)
    try:
        # Unlike multiprocessing's pool it notices when a worker is killed, instead of waiting for it forever.
        with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _begin_worker, (os.getpid(),)) as pool:
            yield from pool.map(_call, range(count), chunksize=max(1, min(8, count // (16 * workers))))
    except BrokenProcessPool as error:
        what = f"One of {workers} processes was ended by the system, which is what it does when memory runs out"
        raise OutOfMemoryError(explain(what, remedy=MORE_MEMORY)) from error
    finally:
        _TASK.pop()


def _begin_worker(parent: int) -> None:
    die_with_parent(signal.SIGKILL, parent)
    _INTERRUPTED.append(signal.signal(signal.SIGINT, signal.SIG_IGN))


def _call(index: int) -> Any:
    # Ctrl-C reaches workers too. It may end a computation, but not an answer that is half sent: for the rest of it the
    # parent would wait forever.
    signal.signal(signal.SIGINT, _INTERRUPTED[-1])
    try:
        return _TASK[-1](index)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
