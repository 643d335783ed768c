"""The files at the top of a dataset of BIDS derivatives: what it is, what it came from, what its names mean."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from isocenter import __version__

BIDS_VERSION = "1.11.0"
#: Where the datasets of ``bids:`` URIs lie, as seen from the derivatives in a site's results.
LINKS = {"raw": "../../bids", "site": "../..", "trial": "../../../../.."}
#: Maps that BIDS has a suffix for in anat/, where all of ours are (TB1map it wants in fmap/).
BIDS_MAPS = frozenset({"T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "S0map", "M0map", "PDmap"})
#: What BIDS has no word for, and why; the patterns are those of .bidsignore.
WORDLESS = {
    "*_desc-aligned_*": "aligned series: all volumes in one 4D file, where BIDS wants one file a volume; with motion",
    "*_desc-undistorted_*": "series freed of distortion: all volumes in one 4D file; with a picture",
    "*_labels": "the label images of all maps of a run with their one table and what became of them",
    "*_rois.tsv": "measured regions of a run",
    "*_exclusions.tsv": "what was left out of a run, and why",
    "*_vials.*": "measured vials of a phantom, their record and picture",
    "*_shim.json": "how well the shim did",
    "*_xfm.json": "rigid transforms as matrices; BIDS does not say yet how to write them",
    "*.png": "pictures",
}
#: What the labels of ``desc-`` mean.
DESCRIPTIONS = {
    "aligned": "Series whose volumes lie on one another",
    "undistorted": "Series freed of the distortion along its phase-encoding axis",
    "stderr": "Standard error of each voxel of the map of this name, in its unit",
    "flag": "Why a voxel has no value; Levels in the sidecar names the numbers",
    "fit": "All parameters of the fit, one a volume; Parameters in the sidecar names them",
    "gradient": "Gradient of B0, and what it added to the decay",
    "calibrated": "Map on the scale of the phantom's references",
    "calibratedstderr": "Standard error of each voxel of the calibrated map",
    "calibratedflag": "Why a voxel has no calibrated value",
}
README = (
    "Derivatives of the quantitative MRI of one site, made by Isocenter from the raw dataset that\n"
    "dataset_description.json links. Every map has its standard error (desc-stderr) and, for voxels without a value,\n"
    "the reason (desc-flag) beside it; a voxel without a value is NaN. Sidecars say unit, model, options, sources\n"
    "with their SHA-256, and the code that made them.\n"
)
PARTICIPANT_COLUMNS = {
    "participant_id": {"Description": "The participant's label in the trial; it is not an identifier of the hospital"},
    "kind": {
        "Description": "What was scanned",
        "Levels": {
            "patient": "A patient of the trial",
            "volunteer": "A volunteer, scanned at one site",
            "traveler": "A volunteer who is scanned at every site",
            "phantom": "A phantom with known values",
        },
    },
}


def describe_derivatives(
    site: str, maps: Iterable[str], kinds: Mapping[str, str], *, links: Mapping[str, str] = LINKS
) -> dict[str, str]:
    """The top of a site's dataset of derivatives: text by file name.

    maps : the endings of its maps (T1map)
    kinds : what was scanned (patient, …, phantom), by participant
    links : where the datasets of ``bids:`` URIs lie, relative to this one
    """
    description = {
        "Name": f"Isocenter derivatives of site {site}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "Isocenter", "Version": __version__}],
        "SourceDatasets": [{"URL": links["raw"]}],
        "DatasetLinks": dict(links),
    }
    own = sorted(set(maps) - BIDS_MAPS)
    ignored = {**{f"*_{name}.*": "maps that BIDS has no suffix for in anat/" for name in own}, **WORDLESS}
    lines = [line for pattern, why in ignored.items() for line in (f"# {why}", pattern)]
    rows = ["desc_id\tdescription", *(f"desc-{label}\t{words}" for label, words in DESCRIPTIONS.items())]
    people = ["participant_id\tkind", *(f"sub-{label}\t{kind}" for label, kind in sorted(kinds.items()))]
    return {
        "dataset_description.json": as_json(description),
        "README": README,
        "descriptions.tsv": _as_lines(rows),
        "participants.tsv": _as_lines(people),
        "participants.json": as_json(PARTICIPANT_COLUMNS),
        ".bidsignore": _as_lines(lines),
    }


def as_json(content: Any) -> str:
    """JSON as every sidecar is written."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _as_lines(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
