"""What stands behind the values of the made-up trial: intake's tables, raw files, maps, sidecars with sources."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from isocenter import layout
from isocenter.dicom.index import IMAGE_FIELDS
from isocenter.dicom.rows import SCAN_COLUMNS
from isocenter.io.nifti import read_volume, write_image
from isocenter.io.tables import write_table

PHANTOM = ("phantom1", "phantom", "01", "1")


def write_scans(root: Path, site: str, people, visits, suffixes, paths: dict) -> None:
    """The site's scans.tsv, its index of DICOM files, and a raw file for every series."""
    rows, files = [], {}
    where = [(person, "traveler", session, run) for person in people for session, run in visits] + [PHANTOM]
    for n, (person, kind, session, run) in enumerate(where):
        for suffix in suffixes:
            raw = f"sub-{person}/ses-{session}/anat/sub-{person}_ses-{session}_run-{run}_{suffix}.nii.gz"
            uid = f"1.2.{sum(map(ord, site))}.{n}.{sum(map(ord, suffix))}"
            row = dict.fromkeys(SCAN_COLUMNS, "")
            date = "2026-01-15" if kind == "phantom" else f"2026-01-{16 + n % 10}"
            row |= {
                "series_uid": uid, "participant_id": person, "kind": kind, "session": session, "run": run,
                "suffix": suffix, "disposition": "used", "scanner": f"{site}scanner", "field_strength": 3.0,
                "n_files": 2, "files": raw, "day": n, "date": date, "time": "08:00:00",
            }  # fmt: skip
            rows.append(row)
            path = root / layout.fill(layout.BIDS, site=site) / raw
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw.encode())
            sidecar = {"SourceSeriesInstanceUID": [uid], "SourceFiles": 2, "SourceSHA256": digest(uid)}
            path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
            for k in range(2):
                image = dict.fromkeys(IMAGE_FIELDS, "") | {"series_uid": uid, "sha256": digest(f"{uid}.{k}")}
                files[f"{uid}.{k}"] = [1, 1, [[image[name] for name in IMAGE_FIELDS], []]]
    path = root / layout.fill(layout.SCANS, site=site)
    write_table(path, pd.DataFrame(rows))
    paths["scans"].append(path)
    index = {"fields": list(IMAGE_FIELDS), "files": files}
    (root / layout.fill(layout.INTAKE_INDEX, site=site)).write_text(json.dumps(index))
    vials = root / layout.fill(
        layout.PHANTOM_VIALS, site=site, participant="phantom1", session="01", run="1", map="T1map"
    )
    vial = {"vial": 1, "biomarker": "T1", "reference": 1.9, "measured": 1.95, "unit": "s", "used": True}
    write_table(vials, pd.DataFrame([vial]))


def write_making(root: Path, where: dict, map_name: str, suffix: str, note: str, paths: dict) -> None:
    """The raw map behind a calibrated one, with its standard error, its flags and the sources in its sidecar."""
    calibrated = root / layout.fill(layout.CALIBRATED, **where, map=map_name)
    values = read_volume(calibrated).data
    entities = "sub-{participant}/ses-{session}/anat/sub-{participant}_ses-{session}_run-{run}".format(**where)
    uri = f"bids:raw:{entities}_{suffix}.nii.gz"
    made = {"Name": "Isocenter", "Version": "0.1.0", "Description": "fit_map", "CodeDigest": "0a1b2c3d4e5f"}
    sidecar = {
        "Units": "s", "Model": "t1_inversion_recovery", "AlignmentNote": note, "Sources": [uri],
        "SourceHashes": {uri: digest(uri)}, "GeneratedBy": [made],
    }  # fmt: skip
    affine = np.diag([4, 4, 7, 1.0])
    write_image(root / layout.fill(layout.MAP, **where, map=map_name), values, affine, sidecar)
    flags = np.where(np.isfinite(values), 0, 1).astype(np.uint8)
    flags[values.shape[0] // 2, values.shape[1] // 2] = 4
    for name, pattern, image in (
        ("stderrs", layout.CALIBRATED_STDERR, (0.004 * values).astype(np.float32)),
        ("flags", layout.CALIBRATED_FLAG, flags),
    ):
        path = root / layout.fill(pattern, **where, map=map_name)
        write_image(path, image, affine, {"Units": "s"})
        paths[name].append(path)


def digest(text: str) -> str:
    """64 hexadecimal digits that a text always gives."""
    return f"{sum(ord(c) * 31**i for i, c in enumerate(text)) % 16**64:064x}"
