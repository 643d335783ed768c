"""A trial of one site and one patient, from DICOM with names in it to measured regions, made in seconds.

The maps are numbers of this file, not fits: what is tested is how they leave.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from dicom.small import header, write_classic

from describe_derivatives import describe_derivatives
from index_site import index_site
from isocenter import audit, layout
from isocenter.entities import Flag
from isocenter.io.nifti import load_image, write_image, write_json, write_map
from isocenter.io.tables import read_table, write_table
from isocenter.rois import COLUMNS, measure_region
from isocenter.stamps import stamp_outputs
from isocenter.volume import ParameterMap

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = {"site": "alpha", "participant": "P01", "session": "01", "run": "1"}
TIMES = ("50", "400", "1100", "2500")
SITE_YAML = "site: alpha\nsource: dicom\nscanners:\n  - {id: scanner1, serial: '777', field_strength: 3.0}\n"
REGIONS = ("white_matter", "gray_matter")


def make_trial(folder: Path, *, has_dated_uids: bool = False, is_packed: bool = False) -> None:
    """Write the trial into `folder`, which must be the working folder: paths of results are relative to it.

    has_dated_uids : whether the scanner built UIDs of the date, as several do; is_packed : whether an archive was sent
    """
    shutil.copytree(REPOSITORY / "config", folder / "config")
    site = folder / layout.fill(layout.SITE_FOLDER, site="alpha")
    site.mkdir(parents=True)
    (site / "site.yaml").write_text(SITE_YAML)
    (site / "participants.tsv").write_text("participant_id\tkind\tsource_id\nP01\tpatient\tPAT-0042\n")
    write_classic(site / "dicom", header(), [{"InversionTime": time} for time in TIMES], n_slices=3)
    if has_dated_uids:
        for path in (site / "dicom").iterdir():
            _date_uids(path)
    if is_packed:
        shutil.make_archive(site / "sent", "zip", site / "dicom")
        shutil.rmtree(site / "dicom")
        (site / "dicom").mkdir()
        (site / "sent.zip").rename(site / "dicom" / "sent.zip")
    paths = {
        name: layout.fill(pattern, site="alpha")
        for name, pattern in {
            "scans": layout.SCANS, "exclusions": layout.INTAKE_EXCLUSIONS, "index": layout.INTAKE_INDEX,
            "bids": layout.BIDS,
        }.items()
    }  # fmt: skip
    index_site(
        layout.fill(layout.SITE_YAML, site="alpha"), layout.fill(layout.PARTICIPANTS, site="alpha"),
        **{**paths, "bids": str(paths["bids"])}, source=f"{layout.SITES}/alpha/dicom", suffixes=["IRT1", "MESE"],
    )  # fmt: skip
    raw = sorted(paths["bids"].rglob("*_IRT1.nii.gz"))
    made = _write_maps(raw)
    _write_regions(made)
    top = {name: layout.fill(pattern, site="alpha") for name, pattern in layout.DERIVATIVES_TOP.items()}
    describe_derivatives(paths["scans"], **top, site="alpha", maps=["T1map", "T2map"])
    audit.append_entry(folder, "run", "1 jobs")


def _date_uids(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    for number, keyword in enumerate(
        ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
    ):
        tail = int(dataset.InstanceNumber) if keyword == "SOPInstanceUID" else 0
        setattr(dataset, keyword, f"1.2.840.99.{number}.{dataset.StudyDate}.101500.{tail}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path)


def _write_maps(raw: list[Path]) -> ParameterMap:
    image = load_image(raw[0])
    random = np.random.default_rng(3)
    value = random.uniform(0.5, 2.0, image.shape).astype(np.float32)
    value[0, 0, 0] = np.nan
    flag = np.where(np.isnan(value), Flag.SINGULAR, Flag.OK).astype(np.uint8)
    made = ParameterMap(value, (value / 50).astype(np.float32), flag, image.affine, "s")
    sidecar = {"Model": "t1_inversion_recovery", "Options": {}, "EstimationAlgorithm": "least squares"}
    paths = [layout.fill(p, **RUN, map="T1map") for p in (layout.MAP, layout.MAP_STDERR, layout.MAP_FLAG)]
    write_map(paths[0], made, *paths[1:], sidecar)
    stamp_outputs("fit_map", raw, raw, paths, code="0123456789ab")
    return made


def _write_regions(made: ParameterMap) -> None:
    labels = np.zeros(made.value.shape, np.int16)
    labels[1:4] = 1
    labels[4:] = 2
    folder = layout.fill(layout.LABELS, **RUN)
    image = folder / "T1map_dseg.nii.gz"
    write_image(image, labels, made.affine, {})
    write_table(folder / "labels.tsv", pd.DataFrame({"index": [1, 2], "name": REGIONS}))
    write_json(folder / "outcome.json", {"Outcome": None})
    stamp_outputs("transfer_labels", [], [], [image], code="0123456789ab")
    rows = []
    for number, name in enumerate(REGIONS, start=1):
        found = measure_region(made, labels == number)
        spread = {f"raw_{key}": getattr(found, key) for key in ("median", "mean", "sd", "iqr", "p10", "p90")}
        rows.append({
            "site": "alpha", "scanner": "scanner1", "participant_id": "P01", "kind": "patient", "session": "01",
            "run": "1", "biomarker": "T1", "roi": name, "value": found.value, "stderr": found.stderr,
            "raw_value": found.value, "raw_stderr": found.stderr, "unit": "s", "n_voxels": found.n_voxels,
            "n_valid": found.n_valid, "calibration": "none", "map": "T1map", "field_strength": 3, **spread,
        })  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_table(layout.fill(layout.ROIS, **RUN), table)
    write_table(Path(layout.MEASUREMENTS), table)


def measurements() -> pd.DataFrame:
    return read_table(layout.MEASUREMENTS, text=("roi", "session", "run", "participant_id"))
