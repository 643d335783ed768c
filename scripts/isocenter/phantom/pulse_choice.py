"""Which pulses a spin-echo train was made with, chosen by how well they explain a phantom's signals.

Vendors rarely write pulse shapes into the header. Each candidate pair of pulses predicts trains of another shape, so
the one that leaves the smallest residual over the vials is taken, once for a scanner and protocol. Reference values
have no part in it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import CalibrationError, explain
from isocenter.fitting import fit

MODEL = "t2_extended_phase_graph"
#: What late echoes of a vial sit on: ringing and noise of random phase, which add to a magnitude in quadrature.
OFFSET = "quadrature"
#: A background can be told from a slow decay only where the decay is seen: the last usable echo has fallen below this
#: share of the largest one.
_DECAYED = 0.2
#: B1 varies slowly over a phantom. Long trains are explained about as well by a few separate values of B1, so trains
#: are fitted again within these windows around their median, and the best window counts.
_B1_WINDOWS = ((-0.15, -0.04), (-0.06, 0.06), (0.04, 0.15))
#: Product refocusing pulses last 2 to 4 ms; where the duration is unknown this is taken [s].
TYPICAL_DURATION = 0.0025
#: Choices whose residual exceeds the smallest by less than this factor explain the phantom about as well: the spread
#: of T2 over them is what the choice leaves open.
_RIVAL = 1.1


@dataclass(frozen=True)
class TrainFit:
    """Echo trains fitted with a background where it can be told.

    t2, t2_stderr [s], b1 [1], residual [a.u.] : (v,) arrays, NaN where there is no value; flag : (v,)
    has_offset : (v,) booleans
    """

    t2: np.ndarray
    t2_stderr: np.ndarray
    b1: np.ndarray
    residual: np.ndarray
    flag: np.ndarray
    has_offset: np.ndarray


@dataclass(frozen=True)
class PulseChoice:
    """The chosen options of the model and how the others did.

    options : of the model, to be recorded with the scanner and protocol
    table : per candidate its options, `residual` (root mean square over vials and echoes [a.u.]) and `fitted` vials,
        best first
    t2, t2_stderr : (v,) arrays [s], the vials fitted with the chosen pulses; the error holds the noise and the spread
        over the rivals
    chosen : the fits with the chosen pulses
    """

    options: dict[str, Any]
    table: list[dict[str, Any]]
    t2: np.ndarray
    t2_stderr: np.ndarray
    chosen: TrainFit = field(repr=False)


def list_candidates() -> list[dict[str, Any]]:
    """Pulses that scanners are known to use: pairs of equal time-bandwidth product, slabs up to twice the slice."""
    pulses = [(t, t) for t in (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)]
    ratios = (1.0, 1.1, 1.2, 1.35, 1.5, 2.0)
    found = [
        {"profile": shape, "time_bandwidth": list(pair), "thickness_ratio": ratio}
        for shape, pair, ratio in product(("sinc", "slr"), pulses, ratios)
    ]
    # A Gaussian keeps its form whatever its bandwidth: only the ratio of the widths counts.
    return found + [{"profile": "gaussian", "time_bandwidth": [3.0, 3.0], "thickness_ratio": r} for r in ratios]


def fit_trains(
    acquisition: Mapping[str, Any], signal: np.ndarray, options: Mapping[str, Any], *, saturation: Any = None
) -> TrainFit:
    """Fit echo trains of one phantom, with a background where the train decays far enough to tell it.

    Parameters
    ----------
    acquisition : mapping
        EchoTime (n,) [s] and what else the model uses.
    signal : (v, n) array [a.u.]
        One train a row; samples that are not finite are left out.
    options : mapping
        Of the model; `t1` may be a (v,) array [s]. `offset` is the kind of background, in quadrature by default.
    saturation : float or (n,) array [a.u.], optional
        Samples at and above it are left out.
    """
    signal = leave_out_clipped(signal, saturation)
    trains = signal[:, np.argsort(acquisition["EchoTime"])]
    last = np.array([row[np.isfinite(row)][-1] if np.isfinite(row).any() else np.nan for row in trains])
    has_offset = last < _DECAYED * np.max(np.where(np.isfinite(trains), trains, -np.inf), axis=1)
    first = _fit_all(acquisition, signal, options, has_offset)
    center = np.nanmedian(first.b1) if np.isfinite(first.b1).any() else np.nan
    lower, upper = options.get("b1_bounds", models.get(MODEL).options["b1_bounds"])
    windows = [(max(lower, center + below), min(upper, center + above)) for below, above in _B1_WINDOWS]
    fits = [
        _fit_all(acquisition, signal, {**options, "b1_bounds": window}, has_offset)
        for window in windows
        if window[0] < window[1]
    ]
    if not fits:
        return first
    best = np.argmin([np.where(np.isfinite(one.residual), one.residual, np.inf) for one in fits], axis=0)
    return TrainFit(
        **{
            name: np.choose(best, [getattr(one, name) for one in fits])
            for name in ("t2", "t2_stderr", "b1", "residual", "flag", "has_offset")
        }
    )


def leave_out_clipped(signal: np.ndarray, saturation: Any) -> np.ndarray:
    """(v, n) array with NaN for samples at or above `saturation` (a number or (n,), None for no limit)."""
    signal = np.asarray(signal, dtype=float)
    return signal if saturation is None else np.where(signal < np.asarray(saturation, dtype=float), signal, np.nan)


def _fit_all(
    acquisition: Mapping[str, Any], signal: np.ndarray, options: Mapping[str, Any], has_offset: np.ndarray
) -> TrainFit:
    """One fit of all trains, those with and those without an offset apart."""
    model = models.get(MODEL)
    found = {name: np.full(len(signal), np.nan) for name in ("t2", "t2_stderr", "b1", "residual")}
    flag = np.full(len(signal), Flag.NO_SIGNAL, np.uint8)
    for offset in (False, options.get("offset", OFFSET)):
        rows = has_offset if offset else ~has_offset
        if not rows.any():
            continue
        own = {**options, "offset": offset}
        if np.ndim(own.get("t1", 1.0)):
            own["t1"] = np.asarray(own["t1"], dtype=float)[rows]
        result = fit(model.bind(acquisition, **own), signal[rows])
        found["t2"][rows], found["t2_stderr"][rows] = result.value["T2"], result.stderr["T2"]
        found["b1"][rows], found["residual"][rows] = result.value["B1"], result.residual
        flag[rows] = result.flag
    return TrainFit(**found, flag=flag, has_offset=has_offset)


def choose_pulses(
    acquisition: Mapping[str, Any],
    signal: np.ndarray,
    *,
    candidates: Iterable[Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
    saturation: Any = None,
) -> PulseChoice:
    """Choose the pulses that leave the smallest residual over the trains of a phantom.

    Parameters
    ----------
    acquisition : mapping
        EchoTime (n,) [s] and what else the model uses.
    signal : (v, n) array [a.u.]
        Means of the vials (or voxels), clipped samples as NaN or told by `saturation`.
    candidates : mappings, optional
        Options of the model that describe pulses; `list_candidates` by default.
    options : mapping, optional
        Options that all candidates share: `t1` of the vials [s], `pulse_duration` [s, `TYPICAL_DURATION` by default],
        `offset` (in quadrature by default).
    saturation : float or (n,) array [a.u.], optional
        Samples at and above it are left out.

    Raises
    ------
    CalibrationError
        When no candidate fits any train.
    """
    shared = {"pulse_duration": TYPICAL_DURATION, "offset": OFFSET, **(options or {})}
    signal = leave_out_clipped(signal, saturation)
    entries = []
    for candidate in list_candidates() if candidates is None else candidates:
        found = fit_trains(acquisition, signal, {**shared, **candidate})
        entries.append((dict(candidate), found))
    # A candidate that fails on a train which another one fits is no candidate; a residual at a bound counts.
    counted = np.any([np.isfinite(found.residual) for _, found in entries], axis=0) if entries else np.zeros(0, bool)
    if not counted.any():
        raise CalibrationError(
            explain(
                "No candidate of the pulses fits a train of this phantom",
                expected="at least one train with enough samples that are not clipped",
                found=f"{len(entries)} candidates, {len(signal)} trains",
                remedy="check the clipping limit and the echo times of the series",
            )
        )
    samples = np.isfinite(signal).sum(axis=1)

    def misfit(found: TrainFit) -> float:
        residual = np.where(np.isfinite(found.residual), found.residual, np.inf)[counted]
        return float(np.sqrt(np.sum(samples[counted] * residual**2) / np.sum(samples[counted])))

    ranked = sorted(((misfit(found), k) for k, (_, found) in enumerate(entries)), key=lambda pair: pair)
    table = [
        {**entries[k][0], "residual": residual, "fitted": int((entries[k][1].flag == Flag.OK).sum())}
        for residual, k in ranked
    ]
    best = entries[ranked[0][1]]
    rivals = np.array([entries[k][1].t2 for residual, k in ranked if residual <= _RIVAL * ranked[0][0]])
    squares = (rivals - best[1].t2) ** 2
    fitted = np.isfinite(squares)
    spread = np.sqrt(np.where(fitted, squares, 0.0).sum(axis=0) / np.maximum(fitted.sum(axis=0), 1))
    return PulseChoice(
        options={**shared, **best[0]},
        table=table,
        t2=best[1].t2,
        t2_stderr=np.hypot(best[1].t2_stderr, spread),
        chosen=best[1],
    )
