"""Simulated trials for the tests: crossed subjects and sites with nested sessions, and the tables of a trial."""

import numpy as np
import pandas as pd


def simulate_values(rng, *, subjects=6, sites=4, sessions=2, repeats=2, sd=None, missing=0.0, mean=100.0):
    """A long table participant_id, site, session, run, value from the model with the given SDs."""
    sd = {"subject": 5.0, "site": 2.0, "subject:site": 1.0, "session": 1.0, "residual": 1.0, **(sd or {})}
    of_subject, of_site = rng.normal(0, sd["subject"], subjects), rng.normal(0, sd["site"], sites)
    rows = []
    for i in range(subjects):
        for j in range(sites):
            cell = of_subject[i] + of_site[j] + rng.normal(0, sd["subject:site"])
            for k in range(sessions):
                session = cell + rng.normal(0, sd["session"])
                for r in range(repeats):
                    value = mean + session + rng.normal(0, sd["residual"])
                    rows.append((f"P{i:02d}", f"site{j}", f"{k + 1:02d}", str(r + 1), value))
    table = pd.DataFrame(rows, columns=["participant_id", "site", "session", "run", "value"])
    return table[rng.random(len(table)) >= missing].reset_index(drop=True) if missing else table


def make_measurements(rng, *, ruler=(0.06, -0.05, 0.02, -0.07), rois=("white_matter",), biomarker="T1", field=3.0):
    """A trial's measurements: 4 sites, 5 travelers, 2 sessions, a repeat in the first; raw rulers are off."""
    parts = []
    for roi in rois:
        sd = {"subject": 0.04, "site": 0.002, "subject:site": 0.003, "session": 0.003, "residual": 0.008}
        table = simulate_values(rng, subjects=5, sites=len(ruler), sd=sd, mean=np.log(0.83))
        table = table[(table["session"] == "01") | (table["run"] == "1")]
        true = np.exp(table["value"])
        error = table["site"].map({f"site{j}": e for j, e in enumerate(ruler)})
        parts.append(
            table.assign(
                value=true, raw_value=true * (1 + error), biomarker=biomarker, roi=roi, unit="s", kind="traveler",
                scanner="S", stderr=0.01, raw_stderr=0.01, n_voxels=99, n_valid=90, calibration="c", map="m",
                field_strength=field, calibrated_flag="",
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def make_vials(rng, *, ruler=(0.06, -0.05, 0.02, -0.07), biomarker="T1", sessions=("01", "02")):
    """Ten vials a session and site with the same ruler errors."""
    rows = []
    for j, error in enumerate(ruler):
        for session in sessions:
            for vial in range(10):
                reference = 1.8 * 0.72**vial
                rows.append(
                    {
                        "site": f"site{j}", "session": session, "vial": vial + 1, "biomarker": biomarker,
                        "reference": reference, "reference_stderr": 0.003 * reference,
                        "measured": reference * (1 + error) * (1 + rng.normal(0, 0.004)),
                        "stderr": 0.003 * reference, "unit": "s", "flag": "ok", "used": True,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


BIOMARKERS = {"T1": {"unit": "s", "scale": "log", "field_dependent": True, "rois": ["white_matter", "gray_matter"]}}


def make_claim(**changes):
    claim = {
        "biomarker": "T1", "roi": "white_matter", "coefficient": "reproducibility", "delta": 8.0,
        "delta_unit": "percent", "context_of_use": "a test", "source": "a citation", "date": "2024-01-01",
    }  # fmt: skip
    return claim | changes
