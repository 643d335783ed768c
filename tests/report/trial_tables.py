"""A made-up trial's results on disk: the tables, verdicts, calibrations and maps that a report reads.

Numbers are plausible and seeded; they are no answers to test against, only something to show.
"""

import base64
import json
from pathlib import Path

import numpy as np
import pandas as pd

from isocenter import layout
from isocenter.io.nifti import write_image
from isocenter.io.outcome import EXCLUSION_COLUMNS
from isocenter.io.tables import write_table
from isocenter.phantom.control import chart_sessions
from isocenter.regions.order import check_order
from isocenter.report.certificate import write_certificate

from .certificate_content import PROTOCOL, make_answer, make_history, make_vials
from .scan_files import write_making, write_scans
from .statistics_tables import make_statistics

SITES = {"siteA": 0.03, "siteB": -0.05, "siteC": 0.07, "siteD": -0.02}
PEOPLE = ("T01", "T02", "T03", "T04", "T05")
VISITS = (("01", "1"), ("01", "2"), ("02", "1"))
TRUTH = {
    ("T1", "white_matter"): 0.85,
    ("T1", "gray_matter"): 1.45,
    ("T1", "csf"): 3.9,
    ("T2", "white_matter"): 0.072,
    ("T2", "gray_matter"): 0.095,
    ("T2", "csf"): 1.2,
}
BIOMARKERS = {
    "T1": {
        "title": "Longitudinal relaxation time",
        "suffix": "IRT1",
        "model": "t1_inversion_recovery",
        "options": {"robust": "tukey"},
        "parameter": "T1",
        "map": "T1map",
        "unit": "s",
        "plausible_range": [0.01, 6.0],
        "align": "rigid",
        "rois": ["white_matter", "gray_matter", "csf"],
        "roi_statistic": "median",
        "calibration": "phantom",
        "field_dependent": True,
        "scale": "log",
    },
    "T2": {
        "title": "Transverse relaxation time",
        "suffix": "MESE",
        "model": "t2_extended_phase_graph",
        "options": {},
        "parameter": "T2",
        "map": "T2map",
        "unit": "s",
        "plausible_range": [0.002, 3.0],
        "align": "none",
        "rois": ["white_matter", "gray_matter", "csf"],
        "roi_statistic": "median",
        "calibration": "phantom",
        "field_dependent": True,
        "scale": "log",
    },
}
#: One white pixel.
_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP6DwABBQECz6AuzQAAAABJRU5ErkJggg=="
)
HOSTILE = '<script>alert("x")</script> & <img src=http://evil.example/x.png> said the file'
LABELS = {1: "white_matter", 2: "gray_matter", 3: "csf"}


def write_trial(root: Path, *, n_sites: int = 4, is_empty: bool = False) -> dict:
    """Write the trial under `root`/results; returns the arguments of ``make_report`` without ``report``."""
    rng = np.random.default_rng(7)
    sites = list(SITES)[:n_sites]
    tables = {} if is_empty else make_statistics(sites, rng, SITES, TRUTH, BIOMARKERS)
    measurements = _measurements([] if is_empty else sites, rng)
    frames = {
        "measurements": measurements,
        "exclusions": _exclusions([] if is_empty else sites),
        "flow": _flow([] if is_empty else sites),
    }
    for name, frame in frames.items():
        write_table(root / getattr(layout, name.upper()), frame)
    paths = {"tables": []}
    for name in layout.STATISTICS_TABLES:
        path = root / layout.statistics_table(name)
        write_table(path, tables.get(name, pd.DataFrame(columns=["biomarker", "roi", "unit", "scale", "flags"])))
        paths["tables"].append(path)
    parameters = {name: block["parameter"] for name, block in BIOMARKERS.items()}
    write_table(root / layout.PLAUSIBILITY, check_order(measurements, parameters))
    paths["tables"].append(root / layout.PLAUSIBILITY)
    for kind in ("vials", "calibrations", "verdicts", "motions", "maps", "labels", "pictures", "controls", "shims",
                 "distortions", "alignments", "certificates", "histories", "scans", "stderrs", "flags"):  # fmt: skip
        paths[kind] = []
    for site in [] if is_empty else sites:
        _write_site(root, site, rng, paths)
    return {
        **{name: root / getattr(layout, name.upper()) for name in frames},
        **paths,
        "settings": _settings([] if is_empty else sites),
    }


def _settings(sites) -> dict:
    claims = [
        {
            "biomarker": b,
            "roi": r,
            "coefficient": "reproducibility",
            "delta": 8.0 if b == "T1" else 14.0,
            "delta_unit": "percent",
            "context_of_use": f"longitudinal change of {r} {b}",
            "source": "made up",
            "date": "2024-05-01",
        }
        for b, r in (("T1", "white_matter"), ("T1", "gray_matter"), ("T2", "white_matter"), ("T2", "gray_matter"))
    ]
    return {
        "trial": "A made-up trial",
        "version": "0.1.0",
        "biomarkers": BIOMARKERS,
        "claims": claims,
        "seed": 1,
        "sites": {site: f"Hospital of {site}" for site in sites},
        "config_hash": "0f1e2d3c4b5a",
        "planned": dict.fromkeys(sites, 15),
        "schedule": {},
    }


def _measurements(sites, rng) -> pd.DataFrame:
    rows = []
    people = {p: float(np.exp(0.03 * rng.standard_normal())) for p in PEOPLE}
    for site in sites:
        for person in PEOPLE:
            for session, run in VISITS:
                if (site, person, session) == ("siteB", "T03", "02"):
                    continue
                for (biomarker, roi), truth in TRUTH.items():
                    value = truth * people[person] * np.exp(0.006 * rng.standard_normal())
                    raw = value * (1 + SITES[site])
                    map_name = BIOMARKERS[biomarker]["map"]
                    rows.append(
                        {
                            "site": site,
                            "scanner": f"{site}scanner",
                            "participant_id": person,
                            "kind": "traveler",
                            "session": session,
                            "run": run,
                            "biomarker": biomarker,
                            "roi": roi,
                            "value": value,
                            "stderr": 0.004 * value,
                            "raw_value": raw,
                            "raw_stderr": 0.003 * raw,
                            "unit": "s",
                            "n_voxels": 900,
                            "n_valid": 880,
                            "calibration": f"{site}/{biomarker}.json",
                            "map": map_name,
                            "field_strength": 3.0,
                            "calibrated_flag": "",
                        }
                    )
    return pd.DataFrame(rows, columns=None if rows else _MEASUREMENT_COLUMNS)


_MEASUREMENT_COLUMNS = [
    "site",
    "scanner",
    "participant_id",
    "kind",
    "session",
    "run",
    "biomarker",
    "roi",
    "value",
    "stderr",
    "raw_value",
    "raw_stderr",
    "unit",
    "n_voxels",
    "n_valid",
    "calibration",
    "map",
    "field_strength",
    "calibrated_flag",
]


def _exclusions(sites) -> pd.DataFrame:
    rows = [
        (
            "siteB",
            "T03",
            "02",
            "1",
            "",
            "",
            "schedule",
            "The schedule plans this visit, but no data arrived",
            "Ask the site",
        ),
        ("siteC", "", "", "", "", f"dicom/{HOSTILE}", "intake", "This is no DICOM file", "Send the original DICOM"),
        (
            "siteA",
            "T02",
            "01",
            "1",
            "T1",
            "1.2.840." + "9" * 60,
            "intake",
            HOSTILE,
            "Ask the site for the inversion time",
        ),
    ]
    return pd.DataFrame([row for row in rows if row[0] in sites], columns=list(EXCLUSION_COLUMNS))


def _flow(sites) -> pd.DataFrame:
    rows = []
    for site in sites:
        rows += [
            (site, "file", "read", 400, 0, 1, 399),
            (site, "series", "intake", 36, 2, 1, 33),
            *((site, "acquisition", s, 29, 0, 0, 29) for s in ("align", "fit", "regions", "calibrate", "analyze")),
            (site, "phantom", "measure", 4, 0, 0, 4),
        ]
    return pd.DataFrame(rows, columns=["site", "entity", "stage", "n_in", "n_ignored", "n_excluded", "n_out"])


_FORMS = {
    "none": {
        "coefficients": [0.0, 1.0],
        "stderr": [0.0, 0.0],
        "loo_rms_percent": 4.0,
        "weighted_loo_rms_percent": 4.1,
        "reduced_chi_square": 80.0,
        "verdict": "predicts no better than gain",
    },
    "gain": {
        "coefficients": [0.0, 0.97],
        "stderr": [0.0, 0.002],
        "loo_rms_percent": 0.6,
        "weighted_loo_rms_percent": 0.5,
        "reduced_chi_square": 1.1,
        "verdict": "chosen",
    },
    "quadratic": {"verdict": "needs 9 vials, 6 can be used"},
}


def _control(site: str, vials: pd.DataFrame, rng) -> pd.DataFrame:
    """Monthly sessions of one scanner: siteA's jumps once, siteB's is serviced, siteC has few sessions."""
    n = 5 if site == "siteC" else 22
    first = vials[vials["session"] == "01"]
    parts = []
    for k in range(n):
        shift = (
            0.003 * rng.standard_normal() + 0.03 * (site == "siteA" and k == 18) + 0.02 * (site == "siteB" and k > 10)
        )
        part = first.assign(session=f"{k + 1:02d}", date=f"{2024 + k // 12}-{k % 12 + 1:02d}-15")
        parts.append(part.assign(measured=part["measured"] * (1 + shift), inversion_efficiency=0.95 + 0.2 * shift))
    vials = pd.concat(parts).assign(temperature_stderr=0.0, thermometer_stderr=0.0)
    events = [
        {"date": "2024-11-20", "text": "gradient coil replaced <b>", "rebase": True},
        {"date": "2025-02-20", "text": "software E11 to XA30"},
    ]
    scanners = dict.fromkeys(vials["session"], f"{site}scanner")
    return chart_sessions(vials, events if site in ("siteA", "siteB") else [], scanners)


def _write_site(root: Path, site: str, rng, paths) -> None:
    write_scans(root, site, PEOPLE, VISITS, [block["suffix"] for block in BIOMARKERS.values()], paths)
    gain = 1 + SITES[site]
    rows = []
    for session in ("01", "02"):
        for biomarker, longest in (("T1", 1.9), ("T2", 0.58)):
            for vial in range(1, 15):
                reference = longest / np.sqrt(2.0) ** (vial - 1)
                measured = reference * gain * (1 + 0.004 * rng.standard_normal())
                flag = "out_of_range" if vial == 14 else "ok"
                rows.append(
                    {
                        "session": session,
                        "date": "2026-01-15",
                        "phantom": "phantom1",
                        "serial": "130-0093",
                        "vial": vial,
                        "biomarker": biomarker,
                        "reference": reference,
                        "reference_stderr": 0.008 * reference,
                        "measured": measured * (1.3 if vial == 14 else 1),
                        "stderr": 0.003 * measured,
                        "bias_percent": 100 * (measured * (1.3 if vial == 14 else 1) / reference - 1),
                        "flag": flag,
                        "unit": "s",
                        "n_voxels": 40,
                        "used": flag == "ok",
                        "reason": "" if flag == "ok" else "the sampled times cannot see a value this short or long",
                    }
                )
    path = root / layout.fill(layout.VIALS, site=site)
    write_table(path, pd.DataFrame(rows))
    paths["vials"].append(path)
    path = root / layout.fill(layout.CONTROL, site=site)
    write_table(path, _control(site, pd.DataFrame(rows), rng))
    paths["controls"].append(path)
    for biomarker in BIOMARKERS:
        path = root / layout.fill(layout.CALIBRATION, site=site, biomarker=biomarker)
        _json(
            path,
            {
                "biomarker": biomarker,
                "unit": "s",
                "form": "gain",
                "coefficients": [0.0, 1 / gain],
                "covariance": [[0, 0], [0, 4e-6]],
                "valid_range": [0.02, 2.0],
                "n_vials": 26,
                "dates": ["2026-01-15", "2026-01-22"],
                "refused": False,
                "reason": "",
                "checks": {"loo_rms_percent": 0.6, "drift_note": "+0.1 % a year", "forms": _FORMS},
            },
        )
        paths["calibrations"].append(path)
    changes = (
        []
        if site != "siteB"
        else [
            {
                "verdict": "warn",
                "id": "repetition_time",
                "parameter": "TR",
                "found": "1800 ms",
                "expected": "2000",
                "tolerance": None,
                "unit": "ms",
                "remedy": "Raise TR to 2000 ms or more",
                "n": 3,
                "scopes": ["T01 ses-01 run-1 MESE", "T02 ses-01 run-1 MESE", "T03 ses-01 run-1 MESE"],
            }
        ]
    )
    check = {
        "id": "inversion_times",
        "group": "protocol",
        "scope": "T01 ses-01 run-1 IRT1",
        "parameter": "TI",
        "severity": "fail",
        "expected": "at least 6",
        "found": "8",
        "verdict": "pass",
        "remedy": "",
        "tolerance": None,
        "unit": "",
    }
    path = root / layout.fill(layout.VERDICT, site=site)
    _json(
        path,
        {
            "site": site,
            "title": f"Hospital of {site}",
            "protocol": "brain",
            "scanners": [
                {
                    "id": "scanner1",
                    "manufacturer": "Siemens",
                    "model": "Skyra",
                    "serial": "12345",
                    "field_strength": 3.0,
                }
            ],
            "verdict": "warn" if changes else "pass",
            "counts": {"pass": 1, "warn": len(changes), "fail": 0},
            "changes": changes,
            "checks": [check],
        },
    )
    paths["verdicts"].append(path)
    history = make_history(3)
    path = root / layout.fill(layout.VERDICT_HISTORY, site=site)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in history))
    paths["histories"].append(path)
    path = root / layout.fill(layout.CERTIFICATE, site=site)
    write_certificate(path, make_answer(4, HOSTILE if site == "siteC" else ""), history, make_vials(), PROTOCOL)
    paths["certificates"].append(path)
    grid = np.hypot(*np.meshgrid(np.linspace(-1, 1, 28), np.linspace(-1, 1, 28), indexing="ij"))
    shells = np.where(grid < 0.45, 1, np.where(grid < 0.75, 2, np.where(grid < 0.85, 3, 0)))
    labels = np.repeat(shells[:, :, None], 5, axis=2).astype(np.int16)
    for person in PEOPLE[:2]:
        for session, run in VISITS:
            where = {"site": site, "participant": person, "session": session, "run": run}
            folder = root / layout.fill(layout.LABELS, **where)
            paths["labels"].append(folder)
            for biomarker, block in BIOMARKERS.items():
                values = np.select([labels == i for i in LABELS], [TRUTH[biomarker, LABELS[i]] for i in LABELS], np.nan)
                values = values * (1 + 0.02 * rng.standard_normal(labels.shape))
                path = root / layout.fill(layout.CALIBRATED, **where, map=block["map"])
                write_image(path, values.astype(np.float32), np.diag([4, 4, 7, 1.0]), {"Units": "s"})
                write_image(folder / f"{block['map']}_dseg.nii.gz", labels, np.diag([4, 4, 7, 1.0]))
                paths["maps"].append(path)
                write_making(root, where, block["map"], block["suffix"], HOSTILE, paths)
            write_table(folder / "labels.tsv", pd.DataFrame({"index": list(LABELS), "name": list(LABELS.values())}))
            path = root / layout.fill(layout.MOTION, **where, suffix="IRT1")
            write_table(
                path,
                pd.DataFrame(
                    {
                        "volume": range(1, 9),
                        "InversionTime": np.linspace(0.05, 3, 8),
                        "displacement_mm": rng.random(8),
                        "framewise_displacement_mm": rng.random(8),
                        "used": ["registered"] * 7 + ["left out: motion beyond 30 mm"],
                        "residual_before": 27.4,
                        "residual_after": 7.3,
                    }
                ),
            )
            paths["motions"].append(path)
            path = root / layout.fill(layout.MOTION_FIGURE, **where, suffix="IRT1")
            path.write_bytes(_PICTURE)
            paths["alignments"].append(path)
            path = root / layout.fill(layout.SHIM, **where, map="B0map")
            figures = {"n_voxels": 51234, "median": 4.2, "sd": 27.31, "range": 88.8, "fwhm": 47.9, "reason": ""}
            lost = {"reason": "Two echoes without phase"}
            who = {"biomarker": "B0", "participant_id": where["participant"], "session": where["session"]}
            _json(path, {**who, "run": where["run"], **(figures if where["run"] == "1" else lost)})
            paths["shims"].append(path)
            path = root / layout.fill(layout.DISTORTION_FIGURE, **where, suffix="dwi")
            path.write_bytes(_PICTURE)
            paths["distortions"].append(path)


def _json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
