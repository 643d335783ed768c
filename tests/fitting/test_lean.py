"""Kernels that count no references: a fit gives back all the memory that its kernels took."""

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from isocenter import models
from isocenter.fitting import fit
from isocenter.fitting.robust import SPARE

_nrt_python.memsys_enable_stats()
NAMES = (
    "t2star_multi_echo",
    "t1_inversion_recovery",
    "t2_extended_phase_graph",
    "pdff_complex",
    "pdff_magnitude",
    "tofts",
)


def count_kept():
    """Arrays that kernels made and did not free."""
    stats = rtsys.get_allocation_stats()
    return stats.mi_alloc - stats.mi_free


@pytest.mark.parametrize("lacks_samples", [False, True])
@pytest.mark.parametrize("robust", [None, "tukey"])
@pytest.mark.parametrize("name", NAMES)
def test_no_kernel_keeps_an_array(name, robust, lacks_samples):
    model = models.get(name)
    bound = model.bind(model.example)
    if robust and bound.n < bound.separable.lower.size + bound.separable.amplitudes + SPARE + lacks_samples:
        pytest.skip("too few samples for robust weights")
    signal = np.tile(bound.predict(model.typical), (70, 1))
    signal = signal + np.random.default_rng(1).normal(0, np.abs(signal).max() / 50, signal.shape)
    signal = np.abs(signal) if bound.separable.is_magnitude else signal
    if lacks_samples:
        signal[:, 1] = np.nan
    fit(bound, signal, robust=robust)
    before = count_kept()
    found = fit(bound, signal, robust=robust)
    assert found.ok.any()
    assert count_kept() == before
