"""What is changed about numba does what it is there for."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from numba.core.caching import IndexDataCacheFile

import isocenter
from isocenter.models import compiled

PACKAGE = Path(isocenter.__file__).parent
KEPT = 40


@compiled.vector_kernel
def _add_up(values):
    total = 0.0
    for value in values:
        total += value * value
    return total


@compiled.kernel
def _compare(values):
    return _add_up(values) > _add_up(values[1:])


def test_a_function_has_its_own_copy_of_what_it_calls():
    values = np.arange(1.0, 40.0)
    assert _compare(values)
    code = _compare.overloads[_compare.signatures[0]].library._get_module_for_linking()
    linkages = {
        function.linkage.name
        for function in code.functions
        if not function.is_declaration and "_add_up" in function.name
    }
    assert linkages == {"internal"}


def _keep(folder, which):
    """Keep `KEPT` entries of one process in one list."""
    file = IndexDataCacheFile(str(folder), "kernel", "stamp")
    for number in range(KEPT):
        file.save((which, number), f"{which}-{number}")


def test_processes_that_keep_at_once_lose_nothing_and_mistake_nothing(tmp_path):
    with ProcessPoolExecutor(4, get_context("fork")) as pool:
        list(pool.map(partial(_keep, tmp_path), range(4)))
    file = IndexDataCacheFile(str(tmp_path), "kernel", "stamp")
    for which in range(4):
        for number in range(KEPT):
            assert file.load((which, number)) == f"{which}-{number}"


FIT = """
import hashlib
import sys
import numpy as np
from isocenter import models
from isocenter.fitting import fit

model = models.get("pdff_magnitude")
bound = model.bind(model.example)
signal = np.tile(bound.predict(model.typical), (301, 1))
rng = np.random.default_rng(3)
signal = np.abs(signal + np.abs(signal).max() / 30 * rng.normal(size=signal.shape)) * rng.uniform(0.6, 1.4, (301, 1))
for robust in sys.argv[1:]:
    found = fit(bound, signal, robust=None if robust == "plain" else robust)
    parts = [*found.value.values(), *found.stderr.values(), found.residual, found.flag]
    print(robust, hashlib.md5(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest())
"""


def _copy_without_kernels(folder):
    shutil.copytree(PACKAGE, folder / "scripts" / "isocenter", ignore=shutil.ignore_patterns("kernels-*"))
    (folder / "config").symlink_to(PACKAGE.parents[1] / "config")
    return folder


def _fit(folder, *robust):
    """What a new process finds with the package in `folder`: a digest by kind of fit."""
    command = [sys.executable, "-c", FIT, *robust]
    environment = os.environ | {"PYTHONPATH": str(folder / "scripts")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert list((folder / "scripts" / "isocenter" / "__pycache__").glob("kernels-fitting-*"))
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.slow
def test_the_same_bits_whoever_compiles_and_in_whatever_order(tmp_path):
    one, other = _copy_without_kernels(tmp_path / "one"), _copy_without_kernels(tmp_path / "other")
    compiled_here = _fit(one, "tukey", "plain")
    assert len(compiled_here) == 2
    assert _fit(one, "plain", "tukey") == compiled_here  # loads what the first process kept
    assert _fit(other, "plain")["plain"] == compiled_here["plain"]
    assert _fit(other, "tukey", "plain") == compiled_here  # loads some, and compiles the rest beside it
