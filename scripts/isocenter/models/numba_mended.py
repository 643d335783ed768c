"""What is changed about numba, so that a result depends on its input and on nothing else that a process did.

Both are changes of what numba keeps to itself (`tests/models/test_numba_mended.py` says whether a newer one is as this
needs it): who imports `isocenter.models.compiled` has them.
"""

import fcntl
import os
from typing import Any

from numba.core.base import BaseContext
from numba.core.caching import IndexDataCacheFile
from numba.core.codegen import CPUCodeLibrary
from numba.core.cpu import CPUTargetOptions
from numba.core.cpu_options import FastMathOptions
from numba.core.targetconfig import ConfigStack


def call_own_copies() -> None:
    """Have each compiled function call the copies of others that were linked into it, whatever else is loaded.

    A copy is optimized again where it is linked, and may round otherwise. By numba's own rule all copies are one, the
    first that was loaded: a process that compiled a function got other last digits than the next, which loaded it.
    """
    optimize = CPUCodeLibrary._optimize_final_module

    def optimize_and_close(self: CPUCodeLibrary) -> None:
        optimize(self)
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage.name == "linkonce_odr":
                function.linkage = "internal"

    CPUCodeLibrary._optimize_final_module = optimize_and_close


def compile_by_own_options() -> None:
    """Have numba's own functions (``x ** 2``, ``max``) be compiled by the options of who calls them, or by none.

    By numba's rule they are compiled once a process, by the options of who calls them first: whether a square may be
    reordered would depend on which kernel was compiled before.
    """
    finish = CPUTargetOptions.finalize

    def finish_without_caller(self: CPUTargetOptions, flags: Any, options: dict[str, Any]) -> None:
        if not flags.is_set("fastmath"):
            flags.fastmath = FastMathOptions(False)
        if not flags.is_set("forceinline"):
            flags.forceinline = False
        finish(self, flags, options)

    CPUTargetOptions.finalize = finish_without_caller
    compile_one = BaseContext.compile_subroutine

    def compile_for_caller(self: BaseContext, *given: Any, **named: Any) -> Any:
        caller = ConfigStack().top()
        key = caller.nrt, caller.forceinline, tuple(sorted(caller.fastmath.flags))
        by_options = self.__dict__.setdefault("_internal_by_options", {})
        self.cached_internal_func = by_options.setdefault(key, {})
        return compile_one(self, *given, **named)

    BaseContext.compile_subroutine = compile_for_caller


def save_one_at_a_time() -> None:
    """Have processes that compile the same function keep what they made one after the other.

    Numba reads the list of what is kept, adds to it, and writes it: of two that do so at once one is lost, or is found
    under the other's name.
    """
    save = IndexDataCacheFile.save

    def save_alone(self: IndexDataCacheFile, key: Any, data: Any) -> None:
        os.makedirs(self._cache_path, exist_ok=True)
        with open(os.path.join(self._cache_path, ".lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # ends when the file is closed
            save(self, key, data)

    IndexDataCacheFile.save = save_alone
