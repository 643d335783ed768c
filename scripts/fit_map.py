"""Fit a signal model to a series and write one parameter as a map.

Reads a series (one 4D file, or one file per value, each with its sidecar), leaves out air and clipped samples, fits
every voxel, and writes the parameter with its standard error and flag, and all parameters with the residual as one
4D image. Maps of other biomarkers of the run are lent to the fit (B1, T1), or are what a derived biomarker is computed
from (R2'). Pulses that the site's phantom chose are options of the fit. A series that cannot be fitted gives maps of
one masked voxel whose sidecar says why.
"""

import json
import logging
from dataclasses import replace

import numpy as np

from isocenter.fitting.derived import DERIVED, derive_map
from isocenter.fitting.maps import describe_fit, fit_series, select_parameter, stack_layers
from isocenter.io.nifti import read_map, read_sidecar, write_image, write_map
from isocenter.io.outcome import Exclusion, read_exclusion, write_excluded_map
from isocenter.io.series import read_parts
from isocenter.phantom.pulse_options import find_options
from isocenter.step import Ins, Out, run_step
from isocenter.volume import ParameterMap, Series

#: No map is lent.
NOTHING: dict[str, str] = {}

log = logging.getLogger("isocenter")


def fit_map(
    series: Ins,
    lent: Ins = (),
    lent_stderrs: Ins = (),
    lent_flags: Ins = (),
    pulses: Ins = (),
    placements: Ins = (),
    *,
    map: Out,
    stderr: Out,
    flag: Out,
    fit: Out,
    model: str,
    parameter: str,
    unit: str,
    options: dict,
    plausible_range: list,
    uses_maps: dict = NOTHING,
    scanner: str = "",
    threads: int = 1,
) -> None:
    """Fit `model` to a series and write `parameter` [unit]; values outside `plausible_range` are flagged.

    `uses_maps` says by the name that the model knows (B1, T1) which map is lent, by the ending of its file: those of
    `lent`; a map that is wanted and is not among them, or holds no value, stands as ``none`` in the sidecar. `pulses`
    is the file of the site's choices, of which that of `scanner` and of this series' protocol is taken. `placements`
    say where lent maps lie on the series, for persons who may have moved between the scans.
    """
    try:
        exclusion = next(filter(None, (read_exclusion(read_sidecar(path)) for path in series)), None)
        if exclusion is None:
            maps, words = _read_lent(lent, lent_stderrs, lent_flags, uses_maps)
            said = {"LentMaps": words} if words else {}
            maps, places = _place(maps, placements, uses_maps)
            said |= {"LentMapPlacements": places} if places else {}
            if model in DERIVED:
                fitted = derive_map(model, maps, parameter, unit, plausible_range)
                sidecar = {"Model": model, "Options": options, "Sources": [path.name for path in lent], **said}
                layers = np.stack([fitted.value], axis=-1).astype(np.float32)
                names = {"Parameters": [parameter], "ParameterUnits": [unit]}
            else:
                acquired = read_parts(series)
                if "Distortion" in acquired.acquisition:
                    said["Distortion"] = acquired.acquisition["Distortion"]
                options, chosen_pulses = _take_pulses(pulses, scanner, acquired, options)
                said |= chosen_pulses
                bound, found = fit_series(acquired, model, options, threads, lent=maps)
                fitted = select_parameter(bound, found, acquired, parameter, unit, plausible_range)
                chosen = {key.lower(): words[key] for key in maps}
                sidecar = {**describe_fit(bound, acquired, [*series, *pulses], {**options, **chosen}), **said}
                layers, names = stack_layers(found)
            log.info("%s: %d voxels with a value, %d without", model, fitted.ok.sum(), (~fitted.ok).sum())
            write_map(map, fitted, stderr, flag, sidecar)
            write_image(fit, layers, fitted.affine, {**sidecar, **names})
            return
    except Exception as error:
        exclusion = Exclusion.from_error("fit", error)
    write_excluded_map(map, stderr, flag, exclusion, unit)
    write_image(fit, np.full((1, 1, 1, 1), np.nan, np.float32), np.eye(4), read_sidecar(map))


def _take_pulses(pulses: Ins, scanner: str, acquired: Series, options: dict) -> tuple[dict, dict]:
    """The options with the pulses that the phantom chose, and what the sidecar says of them; nothing unless asked."""
    if not pulses:
        return options, {}
    choices = json.loads(pulses[0].read_text(encoding="utf-8"))["choices"]
    chosen, reason = find_options(choices, scanner, acquired.acquisition)
    words = {"From": "phantom" if chosen else "configured", "Reason": reason}
    log.info("pulses %s: %s", words["From"], reason)
    return {**options, **(chosen or {})}, {"Pulses": words}


def _place(
    maps: dict[str, ParameterMap], placements: Ins, uses_maps: dict
) -> tuple[dict[str, ParameterMap], dict[str, dict]]:
    """The lent maps where they lie on the series, and what was found of each that may have moved."""
    places = {}
    for path in placements:
        ending = path.name.split("_from-")[1].split("_to-")[0]
        found = json.loads(path.read_text(encoding="utf-8"))
        matrix = np.array(found["Transform"])
        for name in (key for key in maps if uses_maps[key] == ending):
            places[name] = found
            # A point of the series lies at `matrix` of it in the map's scan.
            maps[name] = replace(maps[name], affine=np.linalg.inv(matrix) @ maps[name].affine)
    return maps, places


def _read_lent(paths: Ins, stderrs: Ins, flags: Ins, uses_maps: dict) -> tuple[dict[str, ParameterMap], dict[str, str]]:
    """The maps that hold a value, by the name that the model knows, and a word for each that is wanted."""
    found = {}
    for name, ending in uses_maps.items():
        for path, *others in zip(paths, stderrs, flags, strict=True):
            if path.name.endswith(f"_{ending}.nii.gz"):
                one, sidecar = read_map(path, *others)
                if read_exclusion(sidecar) is None:
                    found[name] = one
    return found, {name: uses_maps[name] if name in found else "none" for name in uses_maps}


if __name__ == "__main__":
    run_step(fit_map, globals())
