"""A site's raw BIDS root: write what has changed, leave what has not, take away what no series stands behind."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from isocenter import __version__
from isocenter.dicom.convert import Converted, convert_set, converter_version
from isocenter.dicom.index import write_if_changed
from isocenter.dicom.sets import AcquisitionSet
from isocenter.dicom.sidecar import build_sidecar, digest_sources
from isocenter.io.nifti import sidecar_path, write_image
from isocenter.io.tables import write_table

ENTITIES = {"IRT1": "inv", "MESE": "echo"}
README = (
    "Raw quantitative MRI of one site, converted from DICOM by Isocenter. One file per inversion or echo time; every\n"
    "sidecar holds the acquisition values of its source. Which series was used or left out, and why, stands in\n"
    "../intake/scans.tsv.\n"
)


def name_volumes(acquisition: AcquisitionSet, prefix: str) -> dict[float, str]:
    """BIDS paths, relative to the site's BIDS root, by acquisition value in ascending order.

    `prefix` is the layout's pattern of a run's files, with {participant}, {session} and {run}.
    """
    start = prefix.format(participant=acquisition.participant, session=acquisition.session, run=acquisition.run)
    entity = ENTITIES[acquisition.suffix]
    return {
        value: f"{start}_{entity}-{number}_{acquisition.suffix}.nii.gz"
        for number, value in enumerate(sorted(acquisition.volumes), start=1)
    }


def write_volumes(
    acquisition: AcquisitionSet,
    names: dict[float, str],
    source: Path,
    bids: Path,
    scanner: str,
    known: dict[str, Any],
) -> dict[str, Any]:
    """Convert a set and write its files under `names`; what the index keeps of each, so that it is made only once.

    `known` is what the index kept last time: a volume made from the same bytes that still stands is not made again.
    Raises DicomError when the set cannot be converted.
    """
    keys = {value: _key(acquisition, value) for value in names}
    converted: dict[float, Converted] = {}
    for value, name in names.items():
        entry = known.get(name)
        if not (entry and entry["key"] == keys[value] and _size(bids / name) == entry["size"]):
            converted = convert_set(acquisition, source)
            break
    entries = {}
    for value, name in names.items():
        path = bids / name
        if converted:
            volume = converted[value]
            size = _place_image(path, volume)
            entry = {
                "key": keys[value],
                "size": size,
                "saturation": volume.saturation,
                "verified": volume.is_verified,
            }
        else:
            entry = known[name]
            volume = Converted(None, None, entry["saturation"], entry["verified"])
        _place_json(sidecar_path(path), build_sidecar(acquisition, value, volume, scanner))
        entries[name] = entry
    return entries


def write_dataset(bids: Path, site: str, participants: pd.DataFrame) -> None:
    """The files that stand at the top of a BIDS root; of the participants only label and kind."""
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
    write_if_changed(bids / "README", README.encode())
    write_if_changed(bids / ".bidsignore", b"# every name here is plain qMRI-BIDS\n")


def remove_stale(bids: Path, names: set[str]) -> list[str]:
    """Remove images and sidecars below ``sub-*`` that no series stands behind any more, and empty folders."""
    kept = {bids / name for name in names} | {sidecar_path(bids / name) for name in names}
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


def _key(acquisition: AcquisitionSet, value: float) -> str:
    return f"{converter_version()}:{digest_sources(acquisition.volumes[value])}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _place_image(path: Path, volume: Converted) -> int:
    """Write an image unless the same stands there; its size in bytes."""
    if not path.exists():
        write_image(path, volume.data, volume.affine)
    else:
        with tempfile.TemporaryDirectory(prefix="isocenter-intake-") as folder:
            made = Path(folder, "volume.nii.gz")
            write_image(made, volume.data, volume.affine)
            write_if_changed(path, made.read_bytes())
    return path.stat().st_size


def _place_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, as io.nifti.write_json does, unless the same stands there."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_if_changed(path, text.encode())
