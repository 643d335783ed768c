"""Vials in complex images: the way round that the phase turns is a vendor's habit, and the vials tell which."""

from dataclasses import replace

import numpy as np

from isocenter import models
from isocenter.fitting import fit
from isocenter.phantom.library import Geometry, VialReference
from isocenter.phantom.locate import VialLocations
from isocenter.phantom.regions import list_regions, mean_signals
from isocenter.phantom.vial_fits import Method, MethodResult, measure_method
from isocenter.volume import Series

#: What a model's option `clockwise` says, in words.
_WORDS = {False: "counterclockwise", True: "clockwise"}


def measure_complex(
    method: Method,
    series: Series,
    geometry: Geometry,
    locations: VialLocations,
    reference: list[VialReference],
    *,
    run: int = 1,
    threads: int = 1,
) -> MethodResult:
    """Fit every vial with the sense of the phase that leaves the smaller residual over all of them.

    Water and fat lie on fixed sides of one another, so that fat seen the wrong way round fits badly, whatever its
    share. The references have no part in the choice. series : complex images
    """
    signals, clipped = mean_signals(series, list_regions(series, locations.centers, geometry))
    clean = np.where(clipped, complex(np.nan, np.nan), signals)
    left = {sense: _residual(method, series, clean, sense) for sense in (False, True)}
    chosen = min(left, key=left.__getitem__)
    method = replace(method, options={**method.options, "clockwise": chosen})
    result = measure_method(method, series, geometry, locations, reference, run=run, threads=threads)
    result.notes.append(
        f"The phase of these images turns {_WORDS[chosen]}: the residual over all vials is {left[chosen]:.3g} of the "
        f"image's units, {left[not chosen]:.3g} the other way round. No reference value has a part in that."
    )
    return result


def _residual(method: Method, series: Series, signals: np.ndarray, is_clockwise: bool) -> float:
    """Root mean square over the vials' mean signals [a.u.]."""
    bound = models.get(method.model).bind(series.acquisition, **{**method.options, "clockwise": is_clockwise})
    found = fit(bound, signals)
    values = found.residual[np.isfinite(found.residual)]
    return float(np.sqrt(np.mean(values**2))) if values.size else np.inf
