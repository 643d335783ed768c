"""A site's raw BIDS root: write what has changed, leave what has not, take away what no series stands behind."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isocenter import __version__
from isocenter.dicom.convert import Converted, convert_set, converter_version
from isocenter.dicom.index import write_if_changed
from isocenter.dicom.readouts import complete_readout, find_statement
from isocenter.dicom.sets import AcquisitionSet
from isocenter.dicom.sidecar import build_sidecar, digest_sources, merge_sidecars
from isocenter.dicom.suffixes import ECHO_PLANAR, SUFFIXES
from isocenter.export.dataset import PARTICIPANT_COLUMNS
from isocenter.io.nifti import load_image, sidecar_path, write_image
from isocenter.io.tables import write_table

#: The BIDS entity of images that come as magnitude and phase.
MAGNITUDE, PHASE = "_part-mag", "_part-phase"
README = (
    "Raw quantitative MRI of one site, converted from DICOM by Isocenter. One file per inversion or echo time; every\n"
    "sidecar holds the acquisition values of its source. Which series was used or left out, and why, stands in\n"
    "../intake/scans.tsv.\n"
)


def name_volumes(acquisition: AcquisitionSet, prefix: str) -> dict[float, str]:
    """BIDS paths, relative to the site's BIDS root, by acquisition value in ascending order.

    `prefix` is the layout's pattern of a run's files, with {participant}, {session}, {folder} and {run}.
    """
    kind = acquisition.kind
    start = prefix.format(
        participant=acquisition.participant, session=acquisition.session, run=acquisition.run, folder=kind.folder
    )
    part = MAGNITUDE if acquisition.phases else ""
    names = {}
    for number, value in enumerate(sorted(acquisition.volumes), start=1):
        if kind.is_field_map:
            names[value] = f"{start}_{kind.entity}{number}.nii.gz"
            continue
        if "-" in kind.entity:  # a label stands before the run
            head, tail = start.rsplit("_run-", 1)
            stem = f"{head}_{kind.entity}{number}_run-{tail}"
        else:
            stem = f"{start}_{kind.entity}-{number}" if kind.entity else start
        names[value] = f"{stem}{part}_{acquisition.suffix}.nii.gz"
    return names


def name_geometry(scan: AcquisitionSet, prefix: str, number: int) -> dict[float, str]:
    """The BIDS path of a scan of the geometry, counted within its session.

    BIDS has no name for a scan that only shows where things lie; T1w is what such scans nearly always are.
    """
    start = prefix.format(participant=scan.participant, session=scan.session, run=number, folder="anat")
    head, tail = start.rsplit("_run-", 1)
    return {value: f"{head}_acq-geometry_run-{tail}_T1w.nii.gz" for value in scan.volumes}


def name_phase(acquisition: AcquisitionSet, name: str) -> str:
    """The BIDS path of the phase of a set that belongs to the magnitude called `name`."""
    if not acquisition.kind.is_field_map:
        return name.replace(f"{MAGNITUDE}_", f"{PHASE}_")
    head, number = name.removesuffix(".nii.gz").rsplit("_magnitude", 1)
    return f"{head}_phasediff.nii.gz" if acquisition.difference_of else f"{head}_phase{number}.nii.gz"


def write_volumes(
    acquisition: AcquisitionSet,
    names: dict[float, str],
    bids: Path,
    scanner: str,
    known: dict[str, Any],
    readouts: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Convert a set and write its files under `names`; what the index keeps of each, so that it is made only once.

    `known` is what the index kept last time: a file made from the same bytes that still stands is not made again;
    `readouts` is what ``site.yaml`` states of echo-planar series. Raises DicomError when the set cannot be converted.
    """
    files: dict[str, list[float]] = {}
    for value, name in names.items():
        files.setdefault(name, []).append(value)
    keys = {name: _key(acquisition, values) for name, values in files.items()}
    converted: dict[float, Converted] = {}
    for name in files:
        entry = known.get(name)
        # An index of before has no readout.
        if not (entry and entry["key"] == keys[name] and _size(bids / name) == entry["size"] and "readout" in entry):
            converted = convert_set(acquisition)
            break
    entries = {}
    for name, values in files.items():
        path = bids / name
        if converted:
            volumes = [converted[value] for value in values]
            entry = {
                "key": keys[name],
                "size": _place_image(path, volumes),
                "saturation": [volume.saturation for volume in volumes],
                "verified": [volume.is_verified for volume in volumes],
                "readout": [volume.readout for volume in volumes],
            }
        else:
            entry = known[name]
            kept = zip(entry["saturation"], entry["verified"], entry["readout"], strict=True)
            volumes = [Converted(None, None, *one) for one in kept]
        volumes = _state_readouts(acquisition, values, volumes, path, scanner, readouts)
        sidecars = [
            build_sidecar(acquisition, value, volume, scanner) for value, volume in zip(values, volumes, strict=True)
        ]
        is_4d = not acquisition.kind.entity
        _place_json(sidecar_path(path), merge_sidecars(sidecars, acquisition.kind.key) if is_4d else sidecars[0])
        for companion, text in _companions(acquisition.suffix, values).items():
            write_if_changed(_beside(path, companion), text.encode())
        entries[name] = entry
    if acquisition.phases:
        part = replace(acquisition, volumes=acquisition.phases, phases={}, part="phase")
        renamed = {value: name_phase(acquisition, names[value]) for value in acquisition.phases}
        entries |= write_volumes(part, renamed, bids, scanner, known)
    return entries


def _state_readouts(
    acquisition: AcquisitionSet,
    values: list[float],
    volumes: list[Converted],
    path: Path,
    scanner: str,
    statements: Sequence[Mapping[str, Any]],
) -> list[Converted]:
    """Echo-planar volumes with what the site states of their readout; the index keeps what the header told."""
    if acquisition.suffix != ECHO_PLANAR or not statements:
        return volumes
    affine, stated = load_image(path).affine, []
    for value, volume in zip(values, volumes, strict=True):
        uid = acquisition.volumes[value][0].image.series_uid
        names = next(one for one in acquisition.used if one.uid == uid).description.names
        readout = complete_readout(volume.readout, find_statement(names, scanner, statements), affine)
        stated.append(replace(volume, readout=readout))
    return stated


def place_series(
    bids: Path, name: str, suffix: str, values: list[float], volumes: list[np.ndarray], affine: np.ndarray,
    sidecars: list[dict[str, Any]],
) -> int:  # fmt: skip
    """Write one file of volumes that did not come as DICOM, and what stands beside it; its size in bytes."""
    path = bids / name
    size = _place_image(path, [Converted(volume, affine, None, is_verified=False) for volume in volumes])
    kind = SUFFIXES[suffix]
    _place_json(sidecar_path(path), sidecars[0] if kind.entity else merge_sidecars(sidecars, kind.key))
    for companion, text in _companions(suffix, values).items():
        write_if_changed(_beside(path, companion), text.encode())
    return size


def write_dataset(bids: Path, site: str, participants: pd.DataFrame, suffixes: set[str]) -> None:
    """The files that stand at the top of a BIDS root; of the participants only label and kind.

    suffixes : those of the series that the root holds
    """
    _place_json(
        bids / "dataset_description.json",
        {
            "Name": f"Isocenter raw data of site {site}",
            "BIDSVersion": "1.11.0",
            "DatasetType": "raw",
            "GeneratedBy": [
                {"Name": "Isocenter", "Version": __version__},
                {"Name": "dcm2niix", "Version": converter_version()},
            ],
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "participants.tsv")
        write_table(path, participants[["participant_id", "kind"]].drop_duplicates().sort_values("participant_id"))
        text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    labeled = "".join([lines[0], *(f"sub-{line}" for line in lines[1:])])
    write_if_changed(bids / "participants.tsv", labeled.encode())
    _place_json(bids / "participants.json", PARTICIPANT_COLUMNS)
    write_if_changed(bids / "README", README.encode())
    own = sorted(suffix for suffix in suffixes if not SUFFIXES[suffix].is_bids)
    ignored = "".join(f"# {SUFFIXES[suffix].title}\n*_{suffix}.*\n" for suffix in own)
    write_if_changed(bids / ".bidsignore", (ignored or "# every name here is plain qMRI-BIDS\n").encode())


def remove_stale(bids: Path, names: set[str]) -> list[str]:
    """Remove images and sidecars below ``sub-*`` that no series stands behind any more, and empty folders."""
    kept = {bids / name for name in names} | {sidecar_path(bids / name) for name in names}
    kept |= {_beside(bids / name, ending) for name in names for ending in _companions(_suffix_of(name), [])}
    removed = []
    for path in sorted(bids.glob("sub-*/**/*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()
            removed.append(path.relative_to(bids).as_posix())
    for path in bids.glob("sub-*"):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return sorted(removed)


def _companions(suffix: str, values: list[float]) -> dict[str, str]:
    """The files that BIDS wants beside an image, by ending: b-values [s/mm²] and directions of diffusion images.

    Trace images have no single direction: theirs is zero.
    """
    if suffix != "dwi":
        return {}
    row = " ".join(f"{value:g}" for value in values) + "\n"
    return {".bval": row, ".bvec": (" ".join("0" for _ in values) + "\n") * 3}


def _beside(image: Path, ending: str) -> Path:
    return sidecar_path(image).with_suffix(ending)


def _suffix_of(name: str) -> str:
    return name.removesuffix(".nii.gz").rsplit("_", 1)[-1]


def _key(acquisition: AcquisitionSet, values: list[float]) -> str:
    return f"{converter_version()}:{digest_sources([m for value in values for m in acquisition.volumes[value]])}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _place_image(path: Path, volumes: list[Converted]) -> int:
    """Write the volumes as one image, 4D when there are several, unless the same stands there; its size in bytes."""
    data = volumes[0].data if len(volumes) == 1 else np.stack([volume.data for volume in volumes], axis=-1)
    if not path.exists():
        write_image(path, data, volumes[0].affine)
    else:
        with tempfile.TemporaryDirectory(prefix="isocenter-intake-") as folder:
            made = Path(folder, "volume.nii.gz")
            write_image(made, data, volumes[0].affine)
            write_if_changed(path, made.read_bytes())
    return path.stat().st_size


def _place_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, as io.nifti.write_json does, unless the same stands there."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_if_changed(path, text.encode())
