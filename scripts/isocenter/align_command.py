"""``isocenter align``: one series aligned, without a trial."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isocenter import models
from isocenter.errors import ConfigError, explain
from isocenter.io.nifti import read_series, read_volume, write_bytes
from isocenter.io.series import name_sources, output_prefix, write_series
from isocenter.io.tables import write_table
from isocenter.motion import varying_values
from isocenter.named_options import resolve_names
from isocenter.provenance import code_digest, file_digest
from isocenter.registration import METHODS, MOTION_LIMIT, align_judged
from isocenter.stamps import describe_making


@dataclass
class Outcome:
    """What ``isocenter align`` found and wrote: a row a volume, the median residuals [a.u.], what became of it."""

    table: pd.DataFrame
    before: float
    after: float
    note: str
    files: list[Path] = field(default_factory=list)


def align_files(
    niftis: Sequence[Path],
    out: Path,
    *,
    model: str,
    method: str = "model",
    options: dict[str, Any] | None = None,
    limit: float = MOTION_LIMIT,
    mask: Path | None = None,
    seed: int = 1,
) -> Outcome:
    """Align a series and write it, its motion table and a picture into `out`.

    Parameters
    ----------
    niftis : paths
        One 4D file or one file per value, each with its sidecar.
    out : path
        The folder to write into; made when absent.
    model : str
        The signal model of the series.
    method : str
        As in :func:`isocenter.registration.align_volumes`.
    options : mapping, optional
        Options of the model.
    limit : float
        A volume that moved more than this [mm] is left out.
    mask : path, optional
        An image on the grid of the series, above 0 in the organ whose motion counts; without it everything but air.
    seed : int
        Of ANTs' sampling.

    Raises
    ------
    IsocenterError
        When the request cannot be answered.
    """
    models.get(model)
    if method not in METHODS:
        raise ConfigError(explain("Unknown alignment method", expected=", ".join(METHODS), found=method))
    if not niftis:
        raise ConfigError(explain("There is no series to align", expected="one 4D NIfTI, or one per value"))
    if not (np.isfinite(limit) and limit > 0):
        raise ConfigError(explain("The limit of motion is no positive number", where="--limit", found=limit))
    if out.exists() and not out.is_dir():
        raise ConfigError(explain("The output is not a folder", where=str(out), remedy="name a folder with --out"))
    from isocenter.figures.alignment import draw_alignment

    acquired = read_series(list(niftis))
    if acquired.n < 2:
        raise ConfigError(
            explain("A series of one volume has no motion", where=str(niftis[0]), expected="two volumes or more")
        )
    chosen = resolve_names(options or {})
    organ = None if mask is None else read_volume(mask).data > 0
    found = align_judged(acquired, method, model=model, options=chosen, limit=limit, mask=organ, seed=seed)
    prefix, suffix = output_prefix(niftis), _suffix(niftis[0])
    start = f"{prefix}_" if prefix else ""
    paths = [out / f"{start}desc-aligned_{suffix}{end}" for end in (".nii.gz", "_motion.png")]
    before, after = found.medians
    sidecar = {
        "Sources": name_sources(niftis),
        "Alignment": method,
        "AlignmentNote": found.note,
        "AlignmentModel": model,
        "AlignmentOptions": chosen,
        "MotionLimit": limit,
        **({} if mask is None else {"AlignmentMask": mask.name}),
        "Seed": seed,
        "ResidualBefore": before,
        "ResidualAfter": after,
        "ReferenceVolume": found.alignment.reference,
        "SourceHashes": {uri: file_digest(path) for uri, path in zip(name_sources(niftis), niftis, strict=True)},
        "GeneratedBy": [describe_making("isocenter align", code_digest("isocenter/align_command", models=(model,)))],
    }
    write_series(paths[0], found.series, sidecar)
    table = dict(found.table)
    rows = pd.DataFrame({"volume": table.pop("volume"), **varying_values(acquired.acquisition, acquired.n), **table})
    write_table(out / "motion.tsv", rows)
    write_bytes(paths[1], draw_alignment(f"{method} alignment for {models.get(model).title}", found))
    return Outcome(rows, before, after, found.note, [paths[0], out / "motion.tsv", paths[1]])


def _suffix(path: Path) -> str:
    """The BIDS suffix of a file: what follows the last underscore; ``series`` where there is none."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    return stem.rpartition("_")[2] if "_" in stem else "series"
