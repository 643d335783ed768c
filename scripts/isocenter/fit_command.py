"""``isocenter fit``: maps of every parameter of a model from a plain qMRI-BIDS series, without a trial."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isocenter import models
from isocenter.documents import read_value
from isocenter.entities import Flag, name_several
from isocenter.errors import ConfigError, SidecarError, explain, part_remedy
from isocenter.fitting import Fit
from isocenter.fitting.maps import describe_fit, fit_series
from isocenter.io.nifti import (
    read_map,
    read_sidecar,
    read_volume,
    sidecar_path,
    write_bytes,
    write_image,
    write_json,
    write_map,
)  # fmt: skip
from isocenter.io.series import output_prefix, read_parts
from isocenter.io.tables import read_table
from isocenter.models import Bound, Model
from isocenter.models.dynamic_series import REGION
from isocenter.models.r2_prime import subtract_r2
from isocenter.named_options import resolve_names
from isocenter.provenance import code_digest, file_digest
from isocenter.stamps import describe_making, read_acquisition
from isocenter.volume import ParameterMap, Series

#: Suffixes of BIDS for parameters; any other parameter has its own name with "map", listed in .bidsignore.
BIDS_SUFFIXES = {
    "T1": "T1map",
    "R1": "R1map",
    "T2": "T2map",
    "R2": "R2map",
    "T2star": "T2starmap",
    "R2star": "R2starmap",
    "M0": "M0map",
    "S0": "S0map",
    "PD": "PDmap",
    "B1": "TB1map",
}
#: Maps that a user may give beside the series: the name in a model's `uses`, the option that may stand for it, the
#: unit, and the range [unit] within which the median of the map must lie.
_HELPERS = {"B1": ("b1", "1", (0.2, 3.0)), "T1": ("t1", "s", (0.01, 20.0))}
#: The word for a mask of every voxel, for images that hold no air.
ALL_VOXELS = Path("all")


@dataclass(frozen=True)
class Spread:
    """One parameter over all voxels that hold a value [unit]."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    stderr: float


@dataclass
class Outcome:
    """What ``isocenter fit`` found and wrote: a line a parameter, voxels by flag (air left out), files."""

    parameters: list[Spread]
    flags: dict[str, int]
    files: list[Path] = field(default_factory=list)
    outlier_share: float | None = None


def known_models() -> list[Model]:
    """All models, in the order of their names."""
    return [models.get(name) for name in sorted(models.names())]


def read_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Model options from ``key=value`` texts, each value as YAML reads it."""
    options = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise ConfigError(explain("An option is not understood", expected="key=value", found=pair))
        options[key.strip()] = read_value(value, f"--option {pair}")
    return options


def map_suffix(parameter: str) -> str:
    """The BIDS suffix of a parameter's map, or its name in camel case with "map"."""
    words = [word for word in parameter.split("_") if word]
    plain = words[0] + "".join(word[0].upper() + word[1:] for word in words[1:])
    return BIDS_SUFFIXES.get(parameter, f"{plain}map")


def fit_files(
    model: str,
    niftis: Sequence[Path],
    out: Path,
    *,
    robust: str | None = None,
    noise: str = "gaussian",
    sigma: float | None = None,
    mask: Path | None = None,
    b1: Path | None = None,
    t1: Path | None = None,
    aif: Path | None = None,
    t2: Path | None = None,
    options: dict[str, Any] | None = None,
    threads: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Fit a model to a series and write its maps, their sidecars and a picture into `out`.

    Parameters
    ----------
    model : str
        The name of a model.
    niftis : paths
        One 4D file or one file per value, each with its sidecar; magnitude and phase files for complex models.
    out : path
        The folder to write into; made when absent.
    robust, noise, sigma :
        As in :func:`isocenter.fitting.fit`.
    mask : path, optional
        Voxels above zero are fitted; `ALL_VOXELS` fits each one; without it the foreground, which takes the dark
        parts of an image that holds no air for air.
    b1, t1 : paths, optional
        A B1 map (fraction, or percent where its sidecar says so) and a T1 map [s] on the grid of the series.
    aif : path, optional
        The arterial input of a DCE model: a TSV with the columns `time` [s] and `concentration` [mM], or an image that
        is above zero inside an artery. Both are blood: the option hematocrit is stated, 0 for plasma.
    t2 : path, optional
        A T2 map [s] as `isocenter fit` writes it, with its standard error and flag beside it: R2* then also gives R2'.
    options : mapping, optional
        Options of the model.
    threads : int
        Threads to use.
    on_progress : callable, optional
        Called with the slices that are done and their number.

    Raises
    ------
    IsocenterError
        When the request cannot be answered: an unknown model or option, a missing file or acquisition value, a mask or
        map on another grid, no voxel that can be fitted.
    """
    known = models.get(model)
    if sigma is not None and not (np.isfinite(sigma) and sigma > 0):
        raise ConfigError(explain("The noise sigma is no positive number", where="--sigma", found=sigma))
    if not niftis:
        raise ConfigError(explain("There is no series to fit", expected="one 4D NIfTI, or one per value"))
    if out.exists() and not out.is_dir():
        raise ConfigError(explain("The output is not a folder", where=str(out), remedy="name a folder with --out"))
    acquired = read_parts(niftis)
    second = None if t2 is None else _read_second(known, acquired, t2)
    options = resolve_names(options or {})
    voxels = None if mask is None else _read_mask(mask, acquired)
    if voxels is not None and not voxels.any():
        raise ConfigError(explain("The mask is empty", where=str(mask), expected="voxels above zero"))
    words: dict[str, Any] = {"noise": noise}
    for name, path in (("B1", b1), ("T1", t1)):
        if path is not None:
            acquired = _lend_map(known, acquired, options, name, path)
            words[_HELPERS[name][0]] = path.name
    if aif is not None:
        acquired = _lend_input(known, acquired, options, aif)
        words["arterial_input"] = aif.name
    if robust is not None:
        words["robust"] = robust
    request = {**options, "noise": noise, **({} if robust is None else {"robust": robust})}
    try:
        bound, found = fit_series(acquired, model, request, threads, mask=voxels, sigma=sigma, on_progress=on_progress)
    except SidecarError as error:
        raise SidecarError(_name_sidecar(str(error), sidecar_path(niftis[0]))) from None
    if sigma is not None:
        words["sigma"] = sigma
    words["mask"] = "foreground" if mask is None else mask.name
    sidecar = _describe(bound, acquired, niftis, words)
    files = _write(bound, found, acquired, out, output_prefix(niftis), sidecar, is_robust=robust is not None)
    spreads = [_spread(found, i) for i in range(len(found.parameters))]
    if second is not None:
        prime = subtract_r2(_as_map(found, "R2star", acquired), second)
        files = [*_write_prime(prime, out, output_prefix(niftis), {**sidecar, "T2": t2.name}), *files]
        if prime.ok.any():
            low, middle, high = np.percentile(prime.value[prime.ok], [5, 50, 95])
            error = float(np.median(prime.stderr[prime.ok]))
            spreads.append(Spread("R2prime", prime.unit, float(middle), float(low), float(high), error))
    flags = np.bincount(found.flag.ravel(), minlength=len(Flag))
    return Outcome(
        spreads,
        {flag.name.lower(): int(flags[flag]) for flag in Flag},
        files,
        float(np.mean(found.outliers[found.ok])) if robust is not None else None,
    )


def _spread(found: Fit, index: int) -> Spread:
    name = found.parameters[index]
    low, median, high = np.percentile(found.value[name][found.ok], [5, 50, 95])
    error = float(np.median(found.stderr[name][found.ok]))
    return Spread(name, found.units[index], float(median), float(low), float(high), error)


def _read_mask(path: Path, acquired: Series) -> np.ndarray:
    if path == ALL_VOXELS:
        return np.ones(acquired.data.shape[:3], bool)
    return _read_on_grid(path, acquired, "mask") > 0


def _read_on_grid(path: Path, acquired: Series, what: str) -> np.ndarray:
    """(x, y, z) array of an image on the grid of the series; ConfigError where it lies elsewhere."""
    volume = read_volume(path)
    data = volume.data[..., 0] if volume.data.ndim == 4 and volume.data.shape[3] == 1 else volume.data
    shape = acquired.data.shape[:3]
    if data.shape != shape or not np.allclose(volume.affine, acquired.affine, atol=1e-2):
        where = "" if data.shape != shape else ", but with another position or voxel size"
        raise ConfigError(
            explain(
                f"The {what} lies on another grid than the series",
                where=str(path),
                expected=shape,
                found=f"{data.shape}{where}",
                remedy="resample it to the series first",
            )
        )
    return data


def _lend_map(model: Model, acquired: Series, options: dict[str, Any], name: str, path: Path) -> Series:
    """The series with a map that the model uses: among its acquisition, or as the model's option (written)."""
    option, unit, (low, high) = _HELPERS[name]
    if name not in model.uses and option not in model.options:
        raise ConfigError(
            explain(
                f"The model {model.name} uses no map of {name}",
                where=f"--{option}",
                expected=", ".join((*model.needs, *model.uses)),
                remedy="leave it out, or choose another model (isocenter fit --list)",
            )
        )
    values = _read_on_grid(path, acquired, f"{name} map").astype(float)
    said = read_sidecar(path).get("Units", unit) if sidecar_path(path).is_file() else unit
    if said in ("percent", "%") and unit == "1":
        values = values / 100.0
    inside = values[np.isfinite(values) & (values > 0)]
    middle = float(np.median(inside)) if inside.size else np.nan
    if not low <= middle <= high:
        raise SidecarError(
            explain(
                f"The {name} map is not in the unit that its sidecar says",
                where=str(path),
                expected=f"a median of {low:g} to {high:g} {'(a fraction)' if unit == '1' else unit}",
                found=f"{middle:g}, Units {said}",
                remedy='say "Units": "percent" in its sidecar where it is so' if unit == "1" else "scale it",
            )
        )
    if name in model.uses:
        return Series(acquired.data, acquired.affine, {**acquired.acquisition, name: values}, acquired.saturation)
    options[option] = values
    return acquired


def _lend_input(model: Model, acquired: Series, options: dict[str, Any], path: Path) -> Series:
    """The series with an arterial input: a table's, or the region that it is to be measured in."""
    if "ArterialInputFunction" not in model.needs:
        raise ConfigError(
            explain(f"The model {model.name} uses no arterial input", where="--aif", remedy="leave it out")
        )
    if options.get("hematocrit") is None:
        raise ConfigError(
            explain(
                "The hematocrit of the arterial input is not stated",
                where="--aif",
                expected="--option hematocrit=0.42 for whole blood, 0 for a table of plasma",
            )
        )
    given = {key: value for key, value in acquired.acquisition.items() if not key.startswith("ArterialInput")}
    if path.suffix.lower() == ".tsv":
        table = read_table(path, required=("time", "concentration"))
        given["ArterialInputTimes"] = table["time"].to_numpy()
        given["ArterialInputFunction"] = table["concentration"].to_numpy()
    else:
        given[REGION] = _read_on_grid(path, acquired, "region of the arterial input") > 0
    return Series(acquired.data, acquired.affine, given, acquired.saturation)


def _read_second(model: Model, acquired: Series, path: Path) -> ParameterMap:
    """A map of T2 with its standard error and flag, on the grid of a series that gives R2*."""
    if "R2star" not in [parameter.name for parameter in model.parameters]:
        raise ConfigError(
            explain(f"The model {model.name} gives no R2*, from which T2 would be taken off", where="--t2",
                    remedy="leave it out, or fit t2star_multi_echo")
        )  # fmt: skip
    _read_on_grid(path, acquired, "T2 map")
    stem, _, suffix = path.name.rpartition("_")
    beside = [path.with_name(f"{stem}_desc-{what}_{suffix}") for what in ("stderr", "flag")]
    absent = [other.name for other in beside if not other.is_file()]
    if absent:
        raise ConfigError(
            explain(
                "A T2 map lacks its standard error or flag, without which R2' would have none",
                where=str(path),
                expected="the files that isocenter fit writes beside it",
                found=f"no {', '.join(absent)}",
            )
        )
    return read_map(path, *beside)[0]


def _as_map(found: Fit, name: str, acquired: Series) -> ParameterMap:
    unit = found.units[found.parameters.index(name)]
    return ParameterMap(found.value[name], found.stderr[name], found.flag, acquired.affine, unit)


def _name_sidecar(message: str, path: Path) -> str:
    """An error about an acquisition value, as somebody can mend it who has images and sidecars, but no DICOM."""
    reason, remedy = part_remedy(message)
    if not remedy.startswith("Check the DICOM header"):
        return message
    what, _, rest = reason.partition("; ")
    return (
        f"{what}; where: {path}; {rest}; what to do: write it there as the scanner's protocol says; it is never guessed"
    )


def _write_prime(prime: ParameterMap, out: Path, prefix: str, sidecar: dict[str, Any]) -> list[Path]:
    """Write R2' with its standard error and flag."""
    start = f"{prefix}_" if prefix else ""
    paths = [out / f"{start}{desc}R2primemap.nii.gz" for desc in ("", "desc-stderr_", "desc-flag_")]
    words = "R2* - R2: what field differences within the voxel add to the decay"
    write_map(paths[0], prime, *paths[1:], {**sidecar, "Description": words})
    _ignore(out / ".bidsignore", {"R2primemap"})
    return paths


def _describe(bound: Bound, acquired: Series, niftis: Sequence[Path], words: dict[str, Any]) -> dict[str, Any]:
    """The sidecar that all maps share; a map that was lent is named by its file."""
    sidecar = describe_fit(bound, acquired, list(niftis), words)
    for name, (option, _, _) in _HELPERS.items():
        if option in words and name in sidecar:
            sidecar[name] = words[option]
    code = code_digest("isocenter/fit_command", models=(bound.model.name,))
    made = {
        "SourceHashes": {path.name: file_digest(path) for path in niftis},
        "GeneratedBy": [describe_making(f"isocenter fit {bound.model.name}", code)],
    }
    return {**name_several(read_acquisition(niftis)), **sidecar, **made}


def _write(
    bound: Bound, found: Fit, acquired: Series, out: Path, prefix: str, sidecar: dict[str, Any], *, is_robust: bool
) -> list[Path]:
    """Write every parameter, the residual, the outliers of a robust fit, and the picture; returns the files."""
    from isocenter.figures.first_look import draw_first_look

    start = f"{prefix}_" if prefix else ""
    suffixes = [map_suffix(parameter.name) for parameter in bound.parameters]
    levels = {str(int(flag)): flag.name.lower() for flag in Flag}
    files = []
    for parameter, suffix in zip(bound.parameters, suffixes, strict=True):
        paths = [out / f"{start}{desc}{suffix}.nii.gz" for desc in ("", "desc-stderr_", "desc-flag_")]
        name = parameter.name
        one = ParameterMap(found.value[name], found.stderr[name], found.flag, acquired.affine, parameter.unit)
        write_map(paths[0], one, *paths[1:], {**sidecar, "Description": parameter.meaning})
        write_json(sidecar_path(paths[2]), {"Description": f"Why a voxel of {name} has no value", "Levels": levels})
        files += paths
    extra = {"residual": (found.residual, "arbitrary", "Root mean square of the residuals")}
    if is_robust:
        words = "Fraction of the samples that the robust fit weighed less than half"
        extra["outliers"] = (found.outliers, "1", words)
    for name, (values, unit, words) in extra.items():
        path = out / f"{start}desc-{name}_{suffixes[0]}.nii.gz"
        fields = {key: sidecar[key] for key in ("Model", "Options", "Sources", "SourceHashes", "GeneratedBy")}
        write_image(path, values, acquired.affine, {"Description": words, "Units": unit, **fields})
        files.append(path)
    picture = out / f"{start}{suffixes[0]}.png"
    write_bytes(picture, draw_first_look(bound.model.title, found, acquired.affine, is_robust=is_robust))
    _ignore(out / ".bidsignore", {suffix for suffix in suffixes if suffix not in BIDS_SUFFIXES.values()})
    return [*files, picture]


def _ignore(path: Path, suffixes: set[str]) -> None:
    """Enter suffixes that BIDS does not know, and the pictures, in .bidsignore, keeping what stands there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    lines += [line for line in (*(f"*_{suffix}.*" for suffix in sorted(suffixes)), "*.png") if line not in lines]
    write_bytes(path, ("\n".join(lines) + "\n").encode("utf-8"))
