"""How many threads a job's libraries use: one, whatever the machine has.

Snakemake decides how many jobs run side by side. A step that may use more than one thread has an argument `threads`
and starts them itself, over voxels or candidates, so that its result is the same to the bit for any number. BLAS,
OpenMP, numba and ITK would start a thread a core besides, and sum in an order that depends on their number.
"""

import os

#: What libraries read when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def hold_threads() -> None:
    """Hold the libraries that are loaded, and those that will be, to one thread."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1)
