"""Which pulses a spin-echo train was made with, chosen by how well they explain a phantom's signals.

Vendors rarely write pulse shapes into the header. Each candidate pair of pulses predicts trains of another shape, so
the one that leaves the smallest residual over the vials is taken, once for a scanner and protocol. Reference values
have no part in it.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
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
#: A quick look at a candidate is one fit with B1 in this window, which holds the transmit calibration of any scanner
#: in a phantom. Candidates within this factor of the best one are fitted thoroughly, then the neighbors of those that
#: do well, until none is new: a quick look alone may miss the optimum of a good candidate.
_QUICK_WINDOW = (0.85, 1.15)
_PROMISING = 1.3
#: Another kind of background than the one in use. Which of them a scanner's late echoes sit on cannot be told from a
#: short train above it, so the difference that it makes counts as one standard uncertainty of T2.
_OTHER_OFFSET = True
#: T1 of trains of which none is known [s]; it moves T2 by a few percent at most.
_TYPICAL_T1 = 1.0
#: Choices whose residual exceeds the smallest by less than this factor explain the phantom about as well: the spread
#: of T2 over them is what the choice leaves open.
_RIVAL = 1.1


@dataclass(frozen=True)
class TrainFit:
    """Echo trains fitted with a background where it can be told.

    t2, t2_stderr [s], b1 [1], residual [a.u.] : (v,) arrays, NaN where there is no value; flag : (v,)
    s0, floor : (v,) arrays [a.u.], the amplitude and the background (0 where none was fitted)
    has_offset : (v,) booleans
    """

    t2: np.ndarray
    t2_stderr: np.ndarray
    b1: np.ndarray
    residual: np.ndarray
    flag: np.ndarray
    has_offset: np.ndarray
    s0: np.ndarray
    floor: np.ndarray


@dataclass(frozen=True)
class PulseChoice:
    """The chosen options of the model and how the others did.

    options : of the model, to be recorded with the scanner and protocol
    table : per candidate its options, `residual` (root mean square over vials and echoes [a.u.]) and `fitted` vials,
        best first
    t2, t2_stderr : (v,) arrays [s], the vials fitted with the chosen pulses; the error holds the noise, the spread
        over the rivals and the difference that another kind of background makes
    spread, background : (v,) arrays [s], the last two by themselves
    chosen : the fits with the chosen pulses
    """

    options: dict[str, Any]
    table: list[dict[str, Any]]
    t2: np.ndarray
    t2_stderr: np.ndarray
    spread: np.ndarray
    background: np.ndarray
    chosen: TrainFit = field(repr=False)

    @property
    def recorded(self) -> dict[str, Any]:
        """The options without T1, which is each vial's own: what holds for every train of the scanner and protocol."""
        return {key: value for key, value in self.options.items() if key != "t1"}


#: Angles as the header says, everywhere in the slice.
IDEAL = {"profile": "none"}


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
    acquisition: Mapping[str, Any],
    signal: np.ndarray,
    options: Mapping[str, Any],
    *,
    saturation: Any = None,
    is_quick: bool = False,
    is_single: bool = False,
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
    is_quick : bool
        One fit with B1 near 1 instead of several within windows.
    is_single : bool
        One fit within the option `b1_bounds`.
    """
    signal = leave_out_clipped(signal, saturation)
    trains = signal[:, np.argsort(acquisition["EchoTime"])]
    last = np.array([row[np.isfinite(row)][-1] if np.isfinite(row).any() else np.nan for row in trains])
    has_offset = last < _DECAYED * np.max(np.where(np.isfinite(trains), trains, -np.inf), axis=1)
    if is_quick:
        return _fit_all(acquisition, signal, {**options, "b1_bounds": _QUICK_WINDOW}, has_offset)
    first = _fit_all(acquisition, signal, options, has_offset)
    if is_single:
        return first
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
            for name in ("t2", "t2_stderr", "b1", "residual", "flag", "has_offset", "s0", "floor")
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
    found = {name: np.full(len(signal), np.nan) for name in ("t2", "t2_stderr", "b1", "residual", "s0")}
    found["floor"] = np.zeros(len(signal))
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
        found["s0"][rows] = result.value["S0"]
        for name in {"floor", "offset"} & set(result.parameters):
            found["floor"][rows] = result.value[name]
        flag[rows] = result.flag
    return TrainFit(**found, flag=flag, has_offset=has_offset)


def choose_pulses(
    acquisition: Mapping[str, Any],
    signal: np.ndarray,
    *,
    candidates: Iterable[Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
    saturation: Any = None,
    threads: int = 1,
) -> PulseChoice:
    """Choose the pulses that leave the smallest residual over the trains of a phantom.

    Parameters
    ----------
    acquisition : mapping
        EchoTime (n,) [s] and what else the model uses.
    signal : (v, n) array [a.u.]
        Means of the vials (or voxels), clipped samples as NaN or told by `saturation`.
    candidates : mappings, optional
        Options of the model that describe pulses; by default `list_candidates` and ideal ones.
    options : mapping, optional
        Options that all candidates share: `t1` of the vials [s], `pulse_duration` [s, `TYPICAL_DURATION` by default],
        `offset` (in quadrature by default).
    saturation : float or (n,) array [a.u.], optional
        Samples at and above it are left out.
    threads : int
        Candidates to fit side by side; the choice is the same for any number.

    Raises
    ------
    CalibrationError
        When no candidate fits any train.
    """
    shared = {"pulse_duration": TYPICAL_DURATION, "offset": OFFSET, **(options or {})}
    signal = leave_out_clipped(signal, saturation)
    # An array makes the fit compute trains as it goes; a table of them pays only for many more voxels.
    shared["t1"] = np.broadcast_to(np.asarray(shared.get("t1", _TYPICAL_T1), dtype=float), (len(signal),)).copy()
    samples = np.isfinite(signal).sum(axis=1)
    known = [dict(c) for c in ([*list_candidates(), IDEAL] if candidates is None else candidates)]

    def look(which: list[int], **how: Any) -> list[TrainFit]:
        # Kernels release the interpreter: candidates are fitted side by side, each the same for any number of threads.
        with ThreadPoolExecutor(max(1, threads)) as pool:
            return list(pool.map(lambda k: fit_trains(acquisition, signal, {**shared, **known[k]}, **how), which))

    fits = dict(enumerate(look(list(range(len(known))), is_quick=True)))
    counted = _counted(fits)
    quick = {k: _misfit(found, counted, samples) for k, found in fits.items()}
    wanted = {k for k, residual in quick.items() if residual <= _PROMISING * min(quick.values())}
    thorough: dict[int, float] = {}
    while wanted:
        which = sorted(wanted)
        fits |= dict(zip(which, look(which), strict=True))
        thorough |= {k: _misfit(fits[k], counted, samples) for k in which}
        good = [k for k, residual in thorough.items() if residual <= _RIVAL * min(thorough.values())]
        wanted = {n for k in good for n in _list_neighbors(known, k)} - set(thorough)
    entries = [(known[k], fits[k]) for k in range(len(known))]
    if not counted.any():
        raise CalibrationError(
            explain(
                "No candidate of the pulses fits a train of this phantom",
                expected="at least one train with enough samples that are not clipped",
                found=f"{len(entries)} candidates, {len(signal)} trains",
                remedy="check the clipping limit and the echo times of the series",
            )
        )
    ranked = sorted(
        ((_misfit(found, counted, samples), k) for k, (_, found) in enumerate(entries)), key=lambda pair: pair
    )
    table = [
        {**entries[k][0], "residual": residual, "fitted": int((entries[k][1].flag == Flag.OK).sum())}
        for residual, k in ranked
    ]
    best = entries[ranked[0][1]]
    rivals = np.array([entries[k][1].t2 for residual, k in ranked if residual <= _RIVAL * ranked[0][0]])
    squares = (rivals - best[1].t2) ** 2
    fitted = np.isfinite(squares)
    spread = np.sqrt(np.where(fitted, squares, 0.0).sum(axis=0) / np.maximum(fitted.sum(axis=0), 1))
    other = fit_trains(acquisition, signal, {**shared, **best[0], "offset": _OTHER_OFFSET})
    background = np.nan_to_num(np.abs(other.t2 - best[1].t2))
    return PulseChoice(
        options={**shared, **best[0]},
        table=table,
        t2=best[1].t2,
        t2_stderr=np.sqrt(best[1].t2_stderr ** 2 + spread**2 + background**2),
        spread=spread,
        background=background,
        chosen=best[1],
    )


def _list_neighbors(known: list[dict[str, Any]], k: int) -> list[int]:
    """Candidates that differ from candidate `k` by one step of one option, or by the shape of the pulse."""
    # Candidates that other options describe (ideal pulses have no product and no ratio) lie next to none.
    alike = {n: candidate for n, candidate in enumerate(known) if candidate.keys() == known[k].keys()}
    levels = {key: sorted({repr(c.get(key)) for c in alike.values()}, key=_as_number) for key in known[k]}

    def place(candidate: dict[str, Any]) -> dict[str, int]:
        return {key: levels[key].index(repr(candidate.get(key))) for key in levels}

    own = place(known[k])
    found = []
    for n, candidate in alike.items():
        steps = [abs(step - own[key]) for key, step in place(candidate).items()]
        if n != k and sum(s > 0 for s in steps) == 1 and max(steps) == 1:
            found.append(n)
    return found


def _as_number(text: str) -> tuple[float, str]:
    """Sorts the representation of a number, or of a list by its first number, before words."""
    head = text.strip("[(").split(",")[0].strip("])")
    try:
        return float(head), text
    except ValueError:
        return np.inf, text


def _counted(fits: Mapping[int, TrainFit]) -> np.ndarray:
    """(v,) booleans: trains that at least one candidate fits.

    A candidate that fails on a train which another one fits is no candidate; a residual at a bound counts.
    """
    return np.any([np.isfinite(found.residual) for found in fits.values()], axis=0) if fits else np.zeros(0, bool)


def _misfit(found: TrainFit, counted: np.ndarray, samples: np.ndarray) -> float:
    """Root mean square over vials and echoes [a.u.]; infinite where a train is not fitted."""
    residual = np.where(np.isfinite(found.residual), found.residual, np.inf)[counted]
    return float(np.sqrt(np.sum(samples[counted] * residual**2) / np.sum(samples[counted])))
