"""Whether the vials follow another batch of the phantom than its serial number says: a mistyped number looks like that.

Solutions of two batches differ by a few percent, vial by vial and in no order. A gain cannot take that up: about the
references of another batch the vials scatter more than about those of their own.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from isocenter.errors import CalibrationError
from isocenter.phantom.library import OK, Phantom, VialReference
from isocenter.phantom.whole_session import Conditions

#: Scatter of the vials about one gain from which another batch is looked for, and the share of it that the other may
#: leave. With the right number the other batch adds what the batches differ by (2 % and more), so it never leaves less.
LEAST_SCATTER, SHARE = 0.01, 0.6
#: What solutions differ from their table by, beside the noise of a vial.
OWN_SCATTER = 0.01
#: Fewer vials show no pattern.
LEAST_VIALS = 7


@dataclass(frozen=True)
class BetterBatch:
    """own, other : names of the batches; scatter, other_scatter : of the vials about one gain [1]."""

    own: str
    other: str
    scatter: float
    other_scatter: float


def find_better_batch(
    phantom: Phantom, conditions: Conditions, quantity: str, rows: pd.DataFrame
) -> BetterBatch | None:
    """The batch whose references the vials of one quantity follow clearly better than those of their serial number.

    rows : of ``vials.tsv``, one method of one session; outliers count too, but for the worst one

    Returns None where there is no other batch, or the vials follow their own.
    """
    serials = phantom.list_batches()
    if not serials:
        return None
    own = phantom.batch(conditions.serial)
    known = rows[rows["flag"].isin([OK, "outlier"]) & (rows["measured"] > 0) & (rows["stderr"] > 0)].set_index("vial")

    where = (conditions.field_strength, conditions.temperature)
    reference = phantom.reference(quantity, conditions.serial, *where)
    found = []
    for batch, serial in serials.items():
        try:
            other = phantom.reference(quantity, serial, *where)
        except CalibrationError:  # no table of that batch for this field or temperature
            continue
        # Both are asked about the same vials: a suspect one that the other leaves out is no merit of it.
        sound = {r.vial for r in reference if r.flag == OK} & {r.vial for r in other if r.flag == OK}
        vials = known[known.index.isin(sound)]
        scatter, other_scatter = _scatter(vials, reference), _scatter(vials, other)
        if batch != own and scatter > LEAST_SCATTER and other_scatter < SHARE * scatter:
            found.append(BetterBatch(own, batch, scatter, other_scatter))
    return min(found, key=lambda one: one.other_scatter, default=None)


def _scatter(rows: pd.DataFrame, reference: list[VialReference]) -> float:
    """Standard deviation of log(measured / reference) about its mean, the vial furthest off left out; NaN for few."""
    value = {r.vial: r.value for r in reference}
    if len(rows) < LEAST_VIALS:
        return float("nan")
    measured, stderr = rows["measured"].to_numpy(float), rows["stderr"].to_numpy(float)
    ratio = np.log(measured / np.array([value[v] for v in rows.index]))
    weight = 1.0 / ((stderr / measured) ** 2 + OWN_SCATTER**2)
    keep = np.arange(len(ratio)) != np.argmax(weight * (ratio - np.median(ratio)) ** 2)
    mean = np.average(ratio[keep], weights=weight[keep])
    return float(np.sqrt(np.average((ratio[keep] - mean) ** 2, weights=weight[keep])))
