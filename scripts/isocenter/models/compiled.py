"""How numeric kernels are compiled: the decorators, and one cache that follows the source.

Numba's own cache of a function looks only at that function's file: editing a function that it calls in another
file would leave stale machine code behind. Here the cache folder carries a digest of all sources that
hold kernels, so an edit anywhere in them compiles anew.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from numba import types

from isocenter.models.numba_mended import call_own_copies, compile_by_own_options, save_one_at_a_time

call_own_copies()
compile_by_own_options()
save_one_at_a_time()

_ROOT = Path(__file__).resolve().parent.parent


@cache
def source_digest(package: str) -> str:
    """A digest of the sources that the kernels of one package (`models` or `fitting`) are made of.

    Kernels of `fitting` reach those of `models` by address only, so an edited model leaves the engine compiled.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for name in ("compiled.py", "numba_mended.py"):
        digest.update((_ROOT / "models" / name).read_bytes())
    for path in sorted((_ROOT / package).glob("*.py")):
        content = path.read_bytes()
        if b"isocenter.models.compiled import" in content:
            digest.update(path.name.encode())
            digest.update(content)
    return digest.hexdigest()[:16]


@cache
def _cache_folder(package: str) -> str:
    """Where machine code is kept: beside the package, or numba's own choice where that is read-only."""
    folder = _ROOT / "__pycache__" / f"kernels-{package}-{source_digest(package)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
    except OSError:
        return ""
    return str(folder)


@contextmanager
def _kept(function: Callable) -> Iterator[None]:
    """What is compiled inside goes to the folder of its package; numba's setting is as before afterwards."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = _cache_folder(Path(function.__code__.co_filename).parent.name) or before
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


#: What a sum may be reordered by; NaN and infinity keep their meaning.
_REORDERED = {"reassoc", "contract", "arcp", "nsz"}


def kernel(function: Callable) -> Callable:
    """Compile with numba on first use.

    ``error_model="numpy"``: a division by zero gives inf or NaN in one voxel instead of an abort of the volume.
    ``nogil``: blocks of voxels run side by side in plain threads.
    """
    return _compile(function)


def vector_kernel(function: Callable) -> Callable:
    """Like `kernel`, for loops whose sums may be reordered, so that they run on vector registers.

    NaN and infinity keep their meaning. The order of a sum is fixed when it is compiled, and results stay the same to
    the bit on one machine, only where the loop that sums stores nothing: one that does both asks at run time where its
    arrays lie, and sums in another order by the answer. `tests/house/test_sums.py` refuses such loops.
    """
    return _compile(function, fastmath=_REORDERED)


def lean_kernel(function: Callable) -> Callable:
    """Like `kernel`, for functions that make no array and call none that returns one.

    Numba counts references to every array that a function is given, by atomic instructions that cost as much as ten
    samples each. A function that only borrows arrays needs none of that. One that makes an array itself is refused
    when it is compiled; an array that it gets back from a call would never be freed (`tests/fitting/test_lean.py`).
    """
    return _compile(function, counts=False)


def lean_vector_kernel(function: Callable) -> Callable:
    """`vector_kernel` and `lean_kernel` in one."""
    return _compile(function, counts=False, fastmath=_REORDERED)


def inlined_kernel(function: Callable) -> Callable:
    """`lean_vector_kernel` that becomes part of what calls it: loops that call others are not made into vector code."""
    return _compile(function, counts=False, fastmath=_REORDERED, forceinline=True)


def _compile(
    function: Callable, *, counts: bool = True, fastmath: set[str] | bool = False, forceinline: bool = False
) -> Callable:
    # All is said in any case: what is not said is taken over from the kernel that calls it first.
    options: dict[str, Any] = {"_nrt": counts, "fastmath": fastmath, "forceinline": forceinline}
    with _kept(function):
        return numba.njit(cache=True, error_model="numpy", nogil=True, **options)(function)


class Pointer:
    """A model's own function, compiled on first use and passed to kernels by address.

    Kernels take it as an argument of one fixed type: the engine is compiled once and serves every model, and its
    machine code can be kept on disk, which numba refuses for kernels that take other kernels as arguments.
    """

    def __init__(self, function: Callable, signature: Any):
        self.function = function
        self.signature = signature
        self.__doc__ = function.__doc__

    @cached_property
    def address(self) -> Any:
        """The compiled function."""
        with _kept(self.function):
            return numba.cfunc(self.signature, cache=True, error_model="numpy")(self.function)


class Report(Pointer):
    """What a model reports, of one voxel (`address`) or of many in one call (`rows`)."""

    @cached_property
    def rows(self) -> Any:
        """The compiled `_report_rows` of this report."""
        with _kept(self.function):
            report = numba.njit(error_model="numpy", forceinline=True, _nrt=True)(self.function)
            code = _report_rows.__code__.replace(
                co_filename=self.function.__code__.co_filename,
                co_firstlineno=self.function.__code__.co_firstlineno,
                co_name=f"{self.function.__name__}_rows",
            )
            rows = FunctionType(code, {"report": report, "__name__": self.function.__module__})
            rows.__qualname__ = code.co_name
            return numba.cfunc(_ROWS, cache=True, error_model="numpy", _nrt=False)(rows)


def _report_rows(first, count, theta, amplitudes, constants, covariance, values, errors, codes):
    """A report of rows 0 to `count`, written from row `first` on: calling it voxel by voxel takes as long as its work.

    A model's own function takes the place of `report`, and compiles into the loop.
    """
    for v in range(count):
        codes[v] = report(theta[v], amplitudes[v], constants, covariance[v], values[first + v], errors[first + v])  # noqa: F821


_VECTOR = types.float64[::1]
_MATRIX = types.float64[:, ::1]
_CUBE = types.float64[:, :, ::1]
_EVALUATION = types.void(_VECTOR, _MATRIX, _VECTOR, _MATRIX, _CUBE)
_REPORT = types.int64(_VECTOR, _VECTOR, _VECTOR, _MATRIX, _VECTOR, _VECTOR)
_ROWS = types.void(
    types.int64, types.int64, _MATRIX, _MATRIX, _VECTOR, _CUBE, _MATRIX, _MATRIX, types.int64[::1]
)  # fmt: skip


def evaluation(function: Callable) -> Pointer:
    """Mark a model's basis: (theta, design, constants, basis out, slope out), see `models.base.Separable`."""
    return Pointer(function, _EVALUATION)


def reporting(function: Callable) -> Report:
    """Mark a model's report: (theta, amplitudes, constants, covariance, values out, errors out) -> Flag number."""
    return Report(function, _REPORT)
