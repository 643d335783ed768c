"""Correct an echo-planar series along its phase-encoding axis by a map of B0 of the same session.

Reads   the raw series, its alignment where there is one, and the map of B0 with the magnitudes of its scan
Writes  the series, corrected by one interpolation from the scanner's samples; or, where something is missing, as it
        came, with the reason in its sidecar; and a picture of before and after
"""

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from isocenter.errors import FitError, IsocenterError, MachineError
from isocenter.fields.distortion import name_source, read_readout
from isocenter.figures.alignment import draw_nothing
from isocenter.figures.distortion import draw_distortion
from isocenter.io.nifti import read_map, read_series, read_sidecar, write_bytes
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.io.series import name_sources, write_excluded_series, write_series
from isocenter.registration import Undistorted, undistort
from isocenter.step import Ins, Out, run_step
from isocenter.trouble import raise_trouble
from isocenter.volume import Series, Volume

log = logging.getLogger("isocenter")


def correct_distortion(
    series: Ins,
    aligned: Ins = (),
    field: Ins = (),
    field_stderr: Ins = (),
    field_flag: Ins = (),
    magnitude: Ins = (),
    *,
    corrected: Out,
    figure: Out,
    map_name: str,
    missing: str,
    seed: int,
) -> None:
    """Correct one series.

    `aligned` is none or one file, as are `field` and its companions; `map_name` is what rows call the map, and
    `missing` says why there is none.
    """
    try:
        exclusion = read_exclusion(read_sidecar(aligned[0])) if aligned else None
        whole = read_series(aligned or series) if exclusion is None else None
    except Exception as error:  # one bad series must not stop the others
        exclusion = Exclusion.from_error("align", error)
    if exclusion is not None:
        write_excluded_series(corrected, exclusion)
        write_bytes(figure, draw_nothing("This series was left out before its distortion could be corrected"))
        return
    base = read_sidecar(aligned[0]) if aligned else {"Sources": name_sources(series)}
    kept = {key: base[key] for key in ("Sources", "Alignment", "AlignmentNote", "ReferenceVolume") if key in base}
    whole = replace(whole, acquisition={k: v for k, v in whole.acquisition.items() if k not in (*kept, "Motions")})
    found, reason = None, missing
    try:
        if not missing:
            raw, matrices = _take_raw(whole, series, base, bool(aligned))
            found = _correct(raw, matrices, field, field_stderr, field_flag, magnitude, seed)
            reason = found.reason
    except MachineError:
        raise
    except IsocenterError as error:
        reason = _first_words(error)
    except Exception as error:  # a series that cannot be corrected is still a series
        raise_trouble(error)
        log.exception("the correction failed")
        reason = f"the correction failed: {type(error).__name__}: {error}"
    words: dict[str, Any] = {"State": "uncorrected" if reason else "corrected", "FieldMap": map_name, "Reason": reason}
    words["ReadoutFrom"] = name_source(whole.acquisition)
    log.info("%s: %s", words["State"], reason or map_name)
    result = whole if reason else found.series
    if not reason and aligned:
        result.data[..., ~np.isfinite(whole.data).any(axis=(0, 1, 2))] = np.nan  # volumes that alignment left out
    write_series(corrected, result, {**kept, "Distortion": {**words, **(found.facts if found else {})}})
    write_bytes(figure, _draw(found, reason, map_name))


def _draw(found: Undistorted | None, reason: str, map_name: str) -> bytes:
    """The picture of before and after, or of the reason why there is none."""
    if found is None:
        return draw_nothing(f"Not corrected: {reason}")
    try:
        return draw_distortion(f"Distortion along the phase-encoding axis, by {map_name}", found)
    except Exception:  # a picture decides nothing
        log.exception("the picture failed")
        return draw_nothing("The picture could not be drawn: see the step's log")


def _take_raw(whole: Series, series: Ins, base: dict, is_aligned: bool) -> tuple[Series, list[np.ndarray] | None]:
    """The samples as measured and their motions, so that they are interpolated once; else the series as aligned."""
    if not is_aligned or "Motions" not in base:
        return whole, None
    return replace(read_series(series), acquisition=whole.acquisition), [np.array(m) for m in base["Motions"]]


def _correct(raw: Series, matrices, field: Ins, stderr: Ins, flag: Ins, magnitude: Ins, seed: int) -> Undistorted:
    readout = read_readout(raw.acquisition)
    offset, sidecar = read_map(field[0], stderr[0], flag[0])
    lost = read_exclusion(sidecar)
    if lost is not None:
        raise FitError(f"the field map could not be made: {lost.reason.split(';')[0]}")
    scan = read_series(magnitude)
    image = Volume(np.nan_to_num(scan.data).mean(axis=-1), scan.affine)
    return undistort(raw, readout, offset, image, matrices=matrices, seed=seed)


def _first_words(error: IsocenterError) -> str:
    """An error's first line in a row's cell."""
    return str(error).split(";")[0]


if __name__ == "__main__":
    run_step(correct_distortion, globals())
