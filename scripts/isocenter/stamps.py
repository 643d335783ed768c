"""What a step's images say of their making: sources with their hashes, code, environment, acquisition.

A step knows none of this: :mod:`isocenter.step`, which runs it, stamps the sidecars of what it wrote. Nothing here
tells the time or the machine, so that the same work gives the same bytes.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isocenter import __version__, layout
from isocenter.entities import Flag
from isocenter.io.nifti import read_sidecar, sidecar_path, write_json
from isocenter.provenance import environment_digest, file_digest

#: Sidecar values that say how a series was acquired, whether or not its model makes use of them.
ACQUISITION = (
    "Manufacturer", "ManufacturersModelName", "DeviceSerialNumber", "SoftwareVersions", "Scanner",
    "MagneticFieldStrength", "ImagingFrequency", "ReceiveCoilName", "TransmitCoilName", "MRAcquisitionType",
    "ScanningSequence", "SequenceVariant", "SequenceName", "PulseSequenceName", "RepetitionTime",
    "RepetitionTimeExcitation", "EchoTime", "InversionTime", "FlipAngle", "RefocusingFlipAngle", "EchoTrainLength",
    "PixelBandwidth", "SliceThickness", "SpacingBetweenSlices", "NumberOfAverages", "ParallelAcquisitionTechnique",
    "ParallelReductionFactorInPlane", "DiffusionBValue", "NonlinearGradientCorrection",
    "NonlinearGradientCorrectionKind", "IntensityNormalization",
)  # fmt: skip
#: Of these BIDS takes a list; any other that differs over a series is told in the plural (InversionTimes).
LISTED = frozenset({"EchoTime", "FlipAngle"})
#: What the standard errors and flags of a map share with it.
_OF_THE_MAP = ("Model", "Options", "EstimationAlgorithm", "EstimationReference", "Calibration")
_FLAG = re.compile(r"_desc-(calibrated)?flag_")
_PHASE = "_part-phase"
_NIFTI = ".nii.gz"
_SITE = re.compile(rf"(?:^|/){re.escape(layout.RESULTS)}/{re.escape(layout.SITES)}/[^/]+/")
#: Parts of a site's results that are BIDS datasets, and the names of these in URIs.
_DATASETS = {"bids/": "raw", "derivatives/isocenter/": ""}


def stamp_outputs(
    step: str, primary: Sequence[Path], sources: Sequence[Path], outputs: Sequence[Path], *, code: str
) -> None:
    """Complete the sidecars of the images among a step's outputs.

    primary : the images whose acquisition the outputs share
    sources : all files and folders that the step read
    outputs : files, and folders of files; the first image is the one that others belong to
    code : digest of the step's code

    Each gains ``Sources`` (BIDS URIs), ``SourceHashes`` (SHA-256 by URI), ``GeneratedBy``, ``SkullStripped`` (BIDS
    wants it of every derived image; nothing here is) and, unless it carries the reason why there is no image, the
    values of `ACQUISITION` that it has not.
    """
    images = [path for output in outputs for path in list_files(output) if path.name.endswith(_NIFTI)]
    if not images:
        return
    files = {name_source(path): path for source in sources for path in list_files(source)}
    made = {
        "Sources": list(files),
        "SourceHashes": {uri: file_digest(path) for uri, path in files.items()},
        "GeneratedBy": [describe_making(step, code)],
        "SkullStripped": False,
    }
    acquired = read_acquisition(primary)
    lead = _read(images[0])
    shared = {key: lead[key] for key in _OF_THE_MAP if key in lead}
    for path in images:
        sidecar = _read(path)
        if _FLAG.search(path.name):
            sidecar |= {"Levels": {str(int(flag)): flag.name.lower() for flag in Flag}}
        added = {} if "Outcome" in lead else {**_name_lists(acquired, sidecar), **shared}
        write_json(sidecar_path(path), {**added, **sidecar, **made})


def describe_making(what: str, code: str) -> dict[str, str]:
    """An entry of ``GeneratedBy``: our version, what was done, digests of the code and of the environment's lock."""
    made = {"Name": "Isocenter", "Version": __version__, "Description": what, "CodeDigest": code}
    made["EnvironmentLockSHA256"] = environment_digest()
    return {key: value for key, value in made.items() if value}


def read_acquisition(images: Sequence[Path]) -> dict[str, Any]:
    """The values of `ACQUISITION` in the sidecars of one series; a list over its files where they differ."""
    paths = [path for path in images if path.name.endswith(_NIFTI) and sidecar_path(path).is_file()]
    sidecars = [read_sidecar(path) for path in paths if _PHASE not in path.name] or [read_sidecar(p) for p in paths]
    found = {}
    for key in ACQUISITION:
        values = [sidecar.get(key) for sidecar in sidecars]
        if any(value is not None for value in values):
            found[key] = values[0] if all(value == values[0] for value in values) else values
    return found


def _name_lists(acquired: dict[str, Any], sidecar: dict[str, Any]) -> dict[str, Any]:
    """Acquisition values under keys that BIDS knows as such, those that an image's own sidecar has left out."""
    own = {key: value for key, value in acquired.items() if key not in sidecar}
    return {f"{k}s" if isinstance(v, list) and k not in LISTED else k: v for k, v in own.items()}


def name_source(path: Path) -> str:
    """The BIDS URI of a file of a trial: in the raw dataset, in the derivatives themselves, of the site, of the trial.

    No folder of this machine gets into a result: of a file outside the trial only the name is told.
    """
    text = path.as_posix()
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        text = path.relative_to(Path.cwd()).as_posix()
    site = _SITE.search(text)
    if site:
        inside = text[site.end() :]
        for folder, name in _DATASETS.items():
            if inside.startswith(folder):
                return f"bids:{name}:{inside.removeprefix(folder)}"
        return f"bids:site:{inside}"
    return path.name if text.startswith(("/", "..")) else f"bids:trial:{text}"


def find_source(uri: str, site: str) -> Path:
    """The file of a URI that :func:`name_source` gave, relative to the trial's folder."""
    _, dataset, inside = uri.split(":", 2) if uri.startswith("bids:") else ("", "trial", uri)
    roots = {"raw": layout.BIDS, "": layout.DERIVATIVES, "site": layout.SITE}
    return layout.fill(roots[dataset], site=site) / inside if dataset in roots else Path(inside)


def list_files(path: Path) -> list[Path]:
    """A file, or the files of a folder, those that Snakemake leaves in it apart."""
    if path.is_dir():
        return [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    return [path] if path.is_file() else []


def _read(image: Path) -> dict[str, Any]:
    return read_sidecar(image) if sidecar_path(image).is_file() else {}
