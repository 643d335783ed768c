"""Vials whose solution is in doubt, held against the line of those that are used."""

import numpy as np
import pandas as pd

from isocenter.calibration import find_outliers
from isocenter.calibration.scale import scale_of
from isocenter.phantom.library import SUSPECT, UNRELIABLE


def mark_strays(table: pd.DataFrame) -> pd.DataFrame:
    """Call vials whose solution is in doubt outliers, where the vials used say so.

    A vial that the acquisition cannot see is expected to be off, and keeps that reason.
    """
    used = table["used"].to_numpy(bool)
    if used.sum() < 3:
        return table
    m, s, r, u = (table[c].to_numpy(float) for c in ("measured", "stderr", "reference", "reference_stderr"))
    table, scale = table.copy(), scale_of(str(table["unit"].iloc[0]))
    doubted = table["flag"].isin((SUSPECT, UNRELIABLE)).to_numpy()
    others = np.flatnonzero(~used & np.isfinite(m) & np.isfinite(s) & doubted)
    for i in others:
        rows = np.append(np.flatnonzero(used), i)
        is_stray = find_outliers(m[rows], s[rows], r[rows], u[rows], scale=scale)[-1]
        if is_stray:
            reason = f"{100 * scale.error(m[i], r[i]):+.1f} % off, unlike the other vials"
            more = str(table.loc[i, "reason"])
            table.loc[i, "flag"] = "outlier"
            table.loc[i, "reason"] = f"{reason}; {more}" if more else reason
    return table
