"""Importing ANTs without the three quarters of it that only plot, learn and download.

``import ants`` takes about three seconds, of which the registration library is a tenth. A trial has hundreds of short
registration jobs.
"""

import importlib
import logging
import os
import sys
import types
from collections.abc import Sequence

log = logging.getLogger("isocenter")

#: The environment variable by which ITK is told how many threads to use. It is one: with more, sums are added in
#: another order and the results of a registration differ in their last bits. Jobs run beside each other instead.
THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"

#: Parts of ANTs that Isocenter never calls and that pull matplotlib, scikit-learn, statsmodels, scipy.stats and
#: requests at import (2 s of 3); with the names that ``ants`` takes from them by name.
DEFERRED = {
    "ants.plotting": (),
    "ants.learn": (),
    "ants.deeplearn": (),
    "ants.contrib": (),
    "ants.math.quantile": (
        "ilr",
        "rank_intensity",
        "quantile",
        "regress_poly",
        "regress_components",
        "get_average_of_timeseries",
        "compcor",
        "bandpass_filter_matrix",
    ),
    "ants.utils.get_ants_data": ("get_ants_data", "get_data"),
}


def load_ants(*, defer: bool = True) -> types.ModuleType:
    """Import ``ants`` for one ITK thread, without the parts that only plot, learn and download.

    The parts in `DEFERRED` are replaced, for the time of the import, by modules whose functions load the real part
    when they are called. When the package no longer looks as expected, the plain import is used. `defer` False imports
    everything, as ``import ants`` does.
    """
    os.environ[THREADS] = "1"
    loaded = sys.modules.get("ants")
    if loaded is not None:
        return loaded
    if defer:
        try:
            return _import_deferred()
        except Exception as error:  # whatever a new release changed, the plain import is right
            log.info("Importing all of ANTs: %s: %s", type(error).__name__, error)
            for name in [n for n in sys.modules if n == "ants" or n.startswith("ants.")]:
                del sys.modules[name]
    return importlib.import_module("ants")


def _import_deferred() -> types.ModuleType:
    stand_ins = {name: _stand_in(name, attributes) for name, attributes in DEFERRED.items()}
    sys.modules.update(stand_ins)
    try:
        ants = importlib.import_module("ants")
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
    for name in ("registration", "apply_transforms", "from_numpy", "read_transform", "atropos"):
        if not callable(getattr(ants, name, None)):
            raise ImportError(f"ants has no {name}")
    return ants


def _stand_in(name: str, attributes: Sequence[str]) -> types.ModuleType:
    module = types.ModuleType(name, "Stands in while ants is imported; its functions load the real module.")
    module.__all__ = list(attributes)
    for attribute in attributes:
        setattr(module, attribute, _late(name, attribute))
    return module


def _late(module: str, attribute: str):
    def call(*args, **kwargs):
        return getattr(importlib.import_module(module), attribute)(*args, **kwargs)

    call.__name__ = attribute
    return call
