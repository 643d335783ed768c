"""A series aligned and brought back, with what that did to the residual of its fit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isocenter import motion
from isocenter.errors import ConfigError, SidecarError, explain
from isocenter.registration.series import BY_MODEL, MOTION_LIMIT, Alignment, align_volumes, undo
from isocenter.series_model import bind_series, measure_residual
from isocenter.volume import Series


@dataclass(frozen=True)
class Judged:
    """An aligned series.

    series : the volumes brought back, NaN where one is left out
    alignment : the motions that were applied
    table : the columns of the motion table
    before, after : (x, y, z) arrays [a.u.], the residual of the model's fit without and with alignment, NaN outside of
        the voxels that both could be measured in; None where the model does not describe the volumes as they are
    note : what became of the alignment, in a sentence
    """

    series: Series
    alignment: Alignment
    table: dict[str, list]
    before: np.ndarray | None
    after: np.ndarray | None
    note: str

    @property
    def medians(self) -> tuple[float, float]:
        """The median residual before and after [a.u.]; NaN where there is none."""
        if self.before is None or not np.isfinite(self.before).any():
            return np.nan, np.nan
        return float(np.nanmedian(self.before)), float(np.nanmedian(self.after))


def align_judged(
    acquired: Series,
    method: str,
    *,
    model: str,
    options: Mapping[str, Any] | None = None,
    limit: float = MOTION_LIMIT,
    mask: np.ndarray | None = None,
    seed: int = 1,
) -> Judged:
    """Align a series, and undo it where the fits of its signal model become worse.

    Each volume is interpolated once. A volume that moved beyond `limit` [mm] becomes NaN, so that fits leave it out.

    Parameters
    ----------
    acquired : Series
        As measured.
    method : str
        As in :func:`isocenter.registration.align_volumes`.
    model, options :
        The signal model by whose residual the alignment is judged, and its options.
    limit : float
        Largest motion that is believed [mm].
    mask : (x, y, z) booleans, optional
        The organ whose motion counts and by which the alignment is judged; without it everything that is no air.
    seed : int
        Of ANTs' sampling.

    Raises
    ------
    ConfigError, SidecarError
        When `method` needs the model, and the model does not describe the volumes as they are.
    """
    mask = motion.find_foreground(acquired.data) if mask is None else _check_mask(mask, acquired)
    bind, why = None, ""
    if method != "none":
        try:
            bind = bind_series(model, acquired.acquisition, acquired.n, options)
        except (ConfigError, SidecarError) as error:
            if method in BY_MODEL:
                raise
            why = str(error).splitlines()[0]
    alignment = align_volumes(
        acquired.data, acquired.affine, method=method, inversion_time=acquired.acquisition.get("InversionTime"),
        bind=bind, limit=limit, mask=mask, seed=seed,
    )  # fmt: skip
    still = _bring_back(acquired, alignment)
    before = after = None
    note = "not aligned" if method == "none" else f"the residual was not measured: {why}"
    if bind is not None:
        before, after = _measure(bind, acquired, still, alignment, mask)
        was, now = (float(np.nanmedian(r)) if np.isfinite(r).any() else np.nan for r in (before, after))
        note = f"the median residual of the fits went from {was:.4g} to {now:.4g}"
        if now > was:
            reason = f"registration raised the residual of the fits from {was:.4g} to {now:.4g}"
            alignment = undo(alignment, reason)
            still, after, note = _bring_back(acquired, alignment), before, f"undone: {reason}"
    return Judged(still, alignment, _describe(acquired, alignment, mask), before, after, note)


def _bring_back(acquired: Series, alignment: Alignment) -> Series:
    saturation = np.broadcast_to(acquired.saturation, (acquired.n,))
    data = motion.resample_series(acquired.data, saturation, alignment.matrices, acquired.affine, alignment.moved)
    data[..., alignment.left_out] = np.nan
    return replace(acquired, data=data)


def _check_mask(mask: np.ndarray, acquired: Series) -> np.ndarray:
    if mask.shape != acquired.data.shape[:3] or not mask.any():
        raise ConfigError(
            explain(
                "The mask does not fit the series",
                expected=f"an image of {acquired.data.shape[:3]} voxels, above 0 where the organ is",
                found=f"{mask.shape}, {np.count_nonzero(mask)} voxels inside",
                remedy="draw it on the series itself",
            )
        )
    return mask.astype(bool)


def _measure(bind, acquired: Series, still: Series, alignment: Alignment, mask) -> tuple[np.ndarray, np.ndarray]:
    """The residuals of the same volumes in the same voxels, before and after."""
    saturation = np.broadcast_to(acquired.saturation, (acquired.n,))
    as_measured = np.where(alignment.left_out, np.nan, acquired.data)
    before, after = (measure_residual(bind, data, mask, saturation) for data in (as_measured, still.data))
    both = np.isfinite(before) & np.isfinite(after)
    return np.where(both, before, np.nan), np.where(both, after, np.nan)


def _describe(acquired: Series, alignment: Alignment, mask: np.ndarray) -> dict[str, list]:
    moved = None
    if alignment.moved is not None:
        axes = acquired.affine[:3, :3] / np.linalg.norm(acquired.affine[:3, :3], axis=0)
        moved = alignment.moved[:, mask] @ axes.T
    return motion.describe_motion(alignment.matrices, alignment.used, alignment.center, moved)
