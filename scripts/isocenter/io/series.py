"""Series on disk: one 4D NIfTI whose sidecar lists what varies over the volumes, or files that belong together."""

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.errors import SidecarError, explain
from isocenter.io.nifti import read_series, sidecar_path, write_image
from isocenter.io.outcome import Exclusion
from isocenter.volume import Series

#: What tells phases and magnitudes apart in BIDS names.
_PHASE = re.compile(r"_part-phase|(?<=_)phase(?=[12]$)|(?<=_)phasediff$")
_MAGNITUDE = re.compile(r"_part-mag|(?<=_)magnitude(?=[12]$)")


def write_series(path: str | os.PathLike, series: Series, sidecar: dict[str, Any] | None = None) -> None:
    """Write a series so that :func:`isocenter.io.nifti.read_series` reads it back.

    The sidecar holds the acquisition, with one number a volume where it varies, and ``SaturationValue`` where samples
    can be clipped; `sidecar` adds to it.
    """
    content = {**series.acquisition}
    saturation = np.broadcast_to(series.saturation, (series.n,))
    if np.isfinite(saturation).any():
        same = np.all(saturation == saturation[0])
        content["SaturationValue"] = float(saturation[0]) if same else saturation
    write_image(path, series.data.astype(np.float32), series.affine, {**content, **(sidecar or {})})


def write_excluded_series(path: str | os.PathLike, exclusion: Exclusion) -> None:
    """Write a series of one NaN that carries the reason in its sidecar."""
    nan = np.full((1, 1, 1, 1), np.nan, np.float32)
    write_image(path, nan, np.eye(4), {"Outcome": asdict(exclusion)})


def name_sources(paths: Sequence[str | os.PathLike]) -> list[str]:
    """BIDS URIs of raw files, from their ``sub-`` folder on: no folder of this machine gets into a result."""
    uris = []
    for path in paths:
        parts = Path(path).parts
        start = next((i for i, part in enumerate(parts[:-1]) if part.startswith("sub-")), len(parts) - 1)
        uris.append("bids:raw:" + "/".join(parts[start:]))
    return uris


def read_parts(paths: Sequence[str | os.PathLike]) -> Series:
    """One series from its files: complex from magnitudes with phases, radians from phases alone.

    Phases are told by their names: ``part-phase``, ``phase1``, ``phase2``, ``phasediff``. Raises SidecarError when a
    magnitude has no phase, or the unit of the phase is unknown.
    """
    phases = sorted((p for p in paths if _PHASE.search(_stem(p))), key=_natural_key)
    if not phases:
        return read_series(list(paths))
    magnitudes = sorted((p for p in paths if p not in phases), key=_natural_key)
    phase = read_series(phases)
    radians = _read_phase(phase, Path(phases[0]).name)
    if not magnitudes:
        return replace(phase, data=radians)
    if magnitudes and len(phases) == 1 and _stem(phases[0]).endswith("_phasediff"):
        return _join_difference(phase, radians, magnitudes)
    expected = [_MAGNITUDE.sub("", _stem(p)) for p in magnitudes]
    if expected != [_PHASE.sub("", _stem(p)) for p in phases]:
        raise SidecarError(
            explain(
                "Magnitude and phase images do not pair up",
                expected="for each part-mag file the part-phase file of the same name",
                found=", ".join(Path(p).name for p in (*magnitudes, *phases)),
            )
        )
    magnitude = read_series(magnitudes)
    if magnitude.data.shape != phase.data.shape:
        raise SidecarError(
            explain("Magnitude and phase differ in shape", expected=magnitude.data.shape, found=phase.data.shape)
        )
    return replace(magnitude, data=magnitude.data * np.exp(1j * radians))


def _join_difference(phase: Series, radians: np.ndarray, magnitudes: Sequence[str | os.PathLike]) -> Series:
    """One complex image from the difference of the phases of two echoes, as strong as the mean (geometric) of both."""
    strength = read_series(list(magnitudes)).data
    if strength.shape[:3] != radians.shape[:3]:
        raise SidecarError(
            explain(
                "Magnitude and phase difference differ in shape", expected=strength.shape[:3], found=radians.shape[:3]
            )
        )
    with np.errstate(divide="ignore"):
        mean = np.exp(np.log(np.maximum(strength, 0)).mean(axis=-1, keepdims=True))
    return replace(phase, data=mean * np.exp(1j * radians))


def _read_phase(phase: Series, name: str) -> np.ndarray:
    """The phase in radians: as it is where the sidecar or the range says so, from the 12 bits of Siemens else."""
    largest = float(np.nanmax(np.abs(phase.data)))
    if phase.acquisition.get("Units") == "rad" or largest <= 1.001 * np.pi:
        return phase.data
    if str(phase.acquisition.get("Manufacturer", "")).lower().startswith("siemens") and 3600 < largest <= 4096:
        is_signed = float(np.nanmin(phase.data)) < 0
        return phase.data * np.float32(np.pi / 4096) if is_signed else phase.data * np.float32(np.pi / 2048) - np.pi
    raise SidecarError(
        explain(
            "The unit of a phase image is unknown",
            where=name,
            expected='"Units": "rad" in its sidecar, and values in radians',
            found=f"Units {phase.acquisition.get('Units', 'absent')}, values up to {largest:.4g}",
            remedy="scale the phase to radians and say so in the sidecar",
        )
    )


def _stem(path: str | os.PathLike) -> str:
    return sidecar_path(path).name.removesuffix(".json")


def _natural_key(path: str | os.PathLike) -> list[tuple[bool, int, str]]:
    """Sorts echo-2 before echo-10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", Path(path).name)]


def output_prefix(paths: Sequence[str | os.PathLike]) -> str:
    """What the names of all results of a series begin with: the BIDS entities that its files share.

    ``sub-1_inv-1_IRT1`` and ``sub-1_inv-2_IRT1`` give ``sub-1``; a name without entities is kept whole.
    """
    stems = [_stem(path) for path in paths]
    entities = [dict(part.split("-", 1) for part in stem.split("_") if re.fullmatch(r"[a-z]+-.+", part, re.I))
                for stem in stems]  # fmt: skip
    shared = [
        f"{key}-{value}"
        for key, value in entities[0].items()
        if key not in ("desc", "part") and all(other.get(key) == value for other in entities)
    ]
    if shared:
        return "_".join(shared)
    name = re.sub(r"[_-]?\d+$", "", stems[0]) if len(stems) > 1 else stems[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)
