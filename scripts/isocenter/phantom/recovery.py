"""Vials whose recovery an inversion-recovery series samples too little.

Beyond 8 T1 a vial has recovered: what is sampled there tells its amplitude, and of its T1 nothing. It also shows the
fluid around the vial, of which 2 to 4 % leak into it and which recovers for seconds. Where five inversion times lie
within 8 T1 the model leaves the later ones out. Where fewer do, they stay in, which does no harm as long as the vial
is all they show: T1 then rests on their being the plateau that they are taken for, and that can be looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isocenter import models
from isocenter.fitting import fit
from isocenter.fitting.maps import FIT_OPTIONS
from isocenter.phantom.library import VialReference
from isocenter.phantom.measure import MOST_CLIPPED, VialMeasurement, count_independent
from isocenter.volume import Series

#: The model whose vials are judged here: its `window` [T1] is what "recovered" means.
MODEL = "t1_inversion_recovery"
#: With as many samples within the window the model leaves the later ones out.
ENOUGH = 5
#: T1, amplitude and inversion efficiency are told by as many samples as they are, or not at all.
UNKNOWNS = 3
#: Late samples differ where the median voxel's change is beyond this many of its standard errors.
CLEARLY = 3.0
#: A leak counts that moves T1 by more than this share: twice what a reference is known to (1.5 %), so that it would be
#: the vial's largest error.
MOST_SHIFT = 0.03
#: Share of the vial's signal by which a leak is taken to grow where a single late sample does not tell: the least that
#: was seen in the short vials of a real session.
UNSEEN_LEAK = 0.02


def judge_recovery(
    model: str,
    options: Mapping[str, Any],
    series: Series,
    regions: list[np.ndarray],
    measured: list[VialMeasurement],
    reference: list[VialReference],
) -> tuple[list[VialMeasurement], np.ndarray]:
    """Flag the vials that an inversion recovery cannot measure; others, and other models, are as they were.

    Parameters
    ----------
    model, options :
        How they were fitted.
    series : Series
        With InversionTime (n,) [s].
    regions : list of (x, y, z) booleans
        The vials'.
    measured, reference : lists
        What they read, and what they should read: T1 [s].

    Returns
    -------
    measured : list
        With flags and reasons.
    is_foreign : (v,) booleans
        Vials whose fits rest on samples that another signal is in: what they tell of the pulse is wrong, too.
    """
    options = {**models.get(MODEL).options, **{k: v for k, v in options.items() if k not in FIT_OPTIONS}}
    window = options["window"] if model == MODEL else None
    if window is None:
        return measured, np.zeros(len(measured), bool)
    judged, is_foreign = [], []
    for one, own, region in zip(measured, reference, regions, strict=True):
        t1 = [x for x in (own.value, one.measured) if np.isfinite(x)]
        foreign = unsampled = ""
        if t1 and region.any():
            samples = _read_samples(series, region, window * np.array(t1))
            shift = _shift_of_leak(series, samples, t1[0], options)
            if shift > MOST_SHIFT:
                foreign = _describe_leak(samples, window, shift)
            if samples.early.size < UNKNOWNS:
                unsampled = _describe_lack(samples, window)
        is_foreign.append(bool(foreign))
        why = unsampled or foreign
        judged.append(replace(one, flag="out_of_range", reason=why) if why and one.used else one)
    return judged, np.array(is_foreign, bool)


@dataclass(frozen=True)
class _Samples:
    """Of one vial. usable : booleans (n,), samples that few of its voxels clip; early : their times within the window
    [s]; late : sorted times beyond it [s]; change : of the median voxel from the first of these to the last, as a share
    of its signal; error : its standard error
    """

    usable: np.ndarray
    early: np.ndarray
    late: np.ndarray
    change: float
    error: float


def _read_samples(series: Series, region: np.ndarray, limits: np.ndarray) -> _Samples:
    """Of one vial. limits : (k,) array [s], the window by what it should read and by what it reads."""
    ti = np.asarray(series.acquisition["InversionTime"], dtype=float)
    signal = np.abs(series.data[region]).astype(float)
    clipped = signal >= series.saturation
    usable = clipped.mean(axis=0) <= MOST_CLIPPED
    # A time between the two limits is neither early nor late.
    late = np.flatnonzero(usable & (ti > limits.max()))
    late = late[np.argsort(ti[late], kind="stable")]
    change = error = np.nan
    if late.size > 1:
        ends = late[[0, -1]]
        before, after = np.where(clipped[:, ends].any(axis=1), np.nan, signal[:, ends].T)
        level, middle = float(np.nanmedian(before)), float(np.nanmedian(after - before))
        rest = np.full(region.shape, np.nan)
        rest[region] = after - before - middle
        scatter = 1.4826 * float(np.nanmedian(np.abs(rest)))
        worth = count_independent(rest, int(np.isfinite(rest).sum()))
        if level > 0:
            # 1.2533 = √(π/2): the median's standard error over the mean's, for normal errors.
            change, error = middle / level, 1.2533 * scatter / level / np.sqrt(worth)
    return _Samples(usable, ti[usable & (ti <= limits.min())], ti[late], change, error)


def _shift_of_leak(series: Series, samples: _Samples, t1: float, options: Mapping[str, Any]) -> float:
    """By which share a signal that goes on growing as the late samples do moves a vial's T1 [1].

    0 where the late samples do not change beyond noise, or where the fit leaves them out; infinite where they leave no
    fit. A fluid of long T1 grows about evenly over the inversion times; a vial inverted wholly stands for the real one.
    """
    is_seen = samples.late.size > 1 and abs(samples.change) > CLEARLY * samples.error
    if samples.early.size >= ENOUGH or not (is_seen or samples.late.size == 1):
        return 0.0
    ti = np.asarray(series.acquisition["InversionTime"], dtype=float)[samples.usable]
    if ti.size <= UNKNOWNS:
        return np.inf
    acquisition = {key: series.acquisition[key] for key in ("RepetitionTime",) if key in series.acquisition}
    acquisition["InversionTime"] = ti
    real = models.get(MODEL).bind(acquisition, **{**options, "data": "real"})
    own = real.predict({"T1": t1, "M0": 1.0, "inversion_efficiency": 1.0})
    first, last = samples.late[[0, -1]] if is_seen else (ti.min(), samples.late[0])
    leak = (samples.change if is_seen else UNSEEN_LEAK) * (ti - first) / (last - first)
    if options["data"] == "magnitude":
        found = fit(models.get(MODEL).bind(acquisition, **options), np.abs(own + leak)[np.newaxis])
    else:
        found = fit(real, (own + leak)[np.newaxis])
    moved = float(found.value["T1"][0])
    return abs(moved / t1 - 1) if np.isfinite(moved) else np.inf


def _describe_leak(samples: _Samples, window: float, shift: float) -> str:
    moves = f"{{}} its T1 by some {100 * shift:.0f} %" if np.isfinite(shift) else "{} no fit of its T1"
    counts, last = f"{_count(samples)} within {window:g} T1, while its signal still changes", 1e3 * samples.late[-1]
    if samples.late.size == 1:
        would = moves.format("would move" if np.isfinite(shift) else "would leave")
        return (
            f"{counts}; of the only later one, {last:.0f} ms, nothing tells whether it holds the fluid around the "
            f"vial: {100 * UNSEEN_LEAK:.0f} % of it {would}"
        )
    return (
        f"{counts}; later, where it has recovered, the signal changes by {100 * samples.change:+.1f} % from "
        f"{1e3 * samples.late[0]:.0f} to {last:.0f} ms: the fluid around the vial is in it, and "
        f"{moves.format('moves' if np.isfinite(shift) else 'leaves')}"
    )


def _describe_lack(samples: _Samples, window: float) -> str:
    return (
        f"{_count(samples)} within {window:g} T1, while its signal still changes: {UNKNOWNS} are needed to tell T1, "
        "amplitude and inversion efficiency apart"
    )


def _count(samples: _Samples) -> str:
    n = samples.early.size
    return f"{n} of {int(samples.usable.sum())} inversion times {'lies' if n == 1 else 'lie'}"
