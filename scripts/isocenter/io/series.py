"""Aligned series on disk: one 4D NIfTI whose sidecar lists what varies over the volumes."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.io.nifti import write_image
from isocenter.io.outcome import Exclusion
from isocenter.volume import Series


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
