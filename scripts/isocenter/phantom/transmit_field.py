"""B1 over a phantom from its own vials: variable flip angles read T1 with B1 squared, and the vials' T1 is known.

Each vial tells the B1 with which its flip-angle series gives its reference T1. B1 varies smoothly over a phantom, so
a polynomial of the place in the plane, fitted to the *other* vials, predicts it at each vial: T1 with that B1 has not
seen the vial's own reference, and its error is what a series with a map of B1 would leave.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter import models
from isocenter.entities import Flag
from isocenter.fitting import fit

MODEL = "t1_variable_flip_angle"
#: B1 is sought in this range, actual over nominal flip angle.
RANGE = (0.4, 2.0)
#: The polynomials tried, simplest first: names of their terms.
FORMS = {
    "constant": ("1",),
    "radial": ("1", "rr"),
    "plane": ("1", "x", "y"),
    "plane and radial": ("1", "x", "y", "rr"),
    "quadratic": ("1", "x", "y", "xx", "yy", "xy"),
}
#: A form needs this many vials more than it has terms, so that leaving one out still tests it.
SPARE = 4
#: A richer form must lower the leave-one-out error by this share.
PARSIMONY = 0.1


@dataclass(frozen=True)
class TransmitField:
    """B1 of the vials, actual over nominal flip angle [1]; (v,) arrays, NaN where there is none.

    b1 : that makes each vial read its reference; smooth : of the polynomial through all of them
    predicted : of the polynomial through the other vials; form : its name
    t1, t1_stderr : [s], with `predicted`; the error holds the noise and the scatter of B1 about the polynomial
    """

    b1: np.ndarray
    smooth: np.ndarray
    predicted: np.ndarray
    form: str
    t1: np.ndarray
    t1_stderr: np.ndarray


def estimate_transmit_field(
    acquisition: Mapping[str, Any], signal: np.ndarray, centers: np.ndarray, t1: np.ndarray, usable: np.ndarray
) -> TransmitField | None:
    """B1 over the phantom from a flip-angle series of its vials; None with too few of them.

    Parameters
    ----------
    acquisition : mapping
        FlipAngle (n,) [deg] and the repetition time [s].
    signal : (v, n) array [a.u.]
        One vial a row; samples that are not finite are left out.
    centers : (v, 3) array [mm]
        Of the vials.
    t1 : (v,) array [s]
        What they should read.
    usable : (v,) booleans
        Vials whose reference and signal can be trusted.
    """
    b1 = np.full(len(t1), np.nan)
    for v in np.flatnonzero(usable):
        b1[v] = _find_b1(acquisition, signal[v], float(t1[v]))
    known = np.isfinite(b1)
    place = _place(centers)
    best = None
    for form, terms in FORMS.items():
        if known.sum() < len(terms) + SPARE:
            break
        design = _design(place, terms)
        predicted = np.full(len(t1), np.nan)
        for v in range(len(t1)):
            others = known & (np.arange(len(t1)) != v)
            predicted[v] = design[v] @ np.linalg.lstsq(design[others], b1[others], rcond=None)[0]
        error = float(np.sqrt(np.mean((predicted - b1)[known] ** 2)))
        if best is None or error < (1 - PARSIMONY) * best[0]:
            smooth = design @ np.linalg.lstsq(design[known], b1[known], rcond=None)[0]
            best = (error, form, predicted, smooth)
    if best is None:
        return None
    error, form, predicted, smooth = best
    value, stderr = np.full(len(t1), np.nan), np.full(len(t1), np.nan)
    for v in range(len(t1)):
        if RANGE[0] < predicted[v] < RANGE[1] and np.isfinite(signal[v]).sum() > 2:
            found = fit(models.get(MODEL).bind({**acquisition, "B1": float(predicted[v])}), signal[v : v + 1])
            if found.flag[0] == Flag.OK:
                value[v] = found.value["T1"][0]
                stderr[v] = np.hypot(found.stderr["T1"][0], 2 * value[v] * error / predicted[v])  # T1 goes with B1²
    return TransmitField(b1, smooth, predicted, form, value, stderr)


def _find_b1(acquisition: Mapping[str, Any], signal: np.ndarray, t1: float) -> float:
    """The B1 with which one vial's signals follow the steady state of its T1 [s] best; NaN at the range's ends."""
    seen = np.isfinite(signal)
    if seen.sum() < 3:
        return np.nan

    def misfit(b1: float) -> float:
        shape = models.get(MODEL).bind({**acquisition, "B1": b1}).predict({"T1": t1, "M0": 1.0})[seen]
        amplitude = (shape @ signal[seen]) / (shape @ shape)
        return float(np.sum((signal[seen] - amplitude * shape) ** 2))

    grid = np.linspace(*RANGE, 33)
    start = int(np.argmin([misfit(b1) for b1 in grid]))
    if start in (0, len(grid) - 1):
        return np.nan
    from scipy.optimize import minimize_scalar  # slow to import

    return float(minimize_scalar(misfit, bounds=(grid[start - 1], grid[start + 1]), method="bounded").x)


def _place(centers: np.ndarray) -> np.ndarray:
    """(v, 2) places in the plane of the vials, from their middle, scaled to about 1."""
    offset = centers - centers.mean(axis=0)
    axes = np.linalg.svd(offset, full_matrices=False)[2][:2]
    plane = offset @ axes.T
    return plane / max(float(np.abs(plane).max()), 1e-9)


def _design(place: np.ndarray, terms: tuple[str, ...]) -> np.ndarray:
    x, y = place.T
    columns = {"1": np.ones_like(x), "x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y, "rr": x * x + y * y}
    return np.column_stack([columns[term] for term in terms])
