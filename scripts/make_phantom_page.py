"""Write the page of one phantom session: what was measured in every vial, with curves, bias and calibration.

Reads   the vials of each biomarker of the session with their pictures and records
Writes  one page that stands by itself, as `isocenter phantom` writes it
"""

import json
import logging
from typing import Any

import pandas as pd

from isocenter.io.tables import read_table
from isocenter.phantom.records import read_result
from isocenter.phantom.sessions import VIAL_COLUMNS, VIAL_TEXT, calibrate_vials
from isocenter.phantom.vial_fits import MethodResult
from isocenter.quality.check import judge
from isocenter.quality.phantom_session import check_session, describe_session
from isocenter.report.phantom_page import PageContent, write_phantom_page
from isocenter.step import Ins, Out, run_step

log = logging.getLogger("isocenter")


def make_phantom_page(
    records: Ins,
    vials: Ins,
    pictures: Ins,
    *,
    page: Out,
    site: str,
    participant: str,
    session: str,
    forms: dict,
    scans: list,
) -> None:
    """Write the page of one session.

    `records`, `vials` and `pictures` are one a biomarker, in the same order; `forms` says by calibrated biomarker which
    forms of calibration may be chosen, others are shown alone; `scans` are the session's rows of the site's table of
    series.
    """
    results, tables, drawn, problems, wanted = [], [], [], [], []
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in records]
    for content, table_path, picture in zip(contents, vials, pictures, strict=True):
        found, name = read_result(content), content["about"]["biomarker"]
        problems += [tuple(one) for one in content.get("problems", [])]
        if found is None:
            problems.append((name, content["reason"]))
            if name in forms:
                wanted.append(name)
            continue
        results.append(found)
        if name in forms:
            wanted.append(found.method.quantity)
        tables.append(_widen(read_table(table_path, required=VIAL_COLUMNS, text=VIAL_TEXT), found, content))
        drawn.append((f"Vials of {name} ({content['array']})", picture.read_bytes(), content["how"]))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["method", "used", "run"])
    calibrations = {}
    for one in results:
        key = one.method.key
        if key not in forms:
            continue
        calibrations[key] = calibrate_vials(table[table["method"] == key], key, one.method.unit, tuple(forms[key]))
    methods = [one.method for one in results]
    checks = check_session(wanted, methods, table, calibrations, problems)
    about = contents[0]["about"]
    write_phantom_page(
        page,
        PageContent(
            title=f"Phantom session {session} of {site}, {about['date']}",
            subtitle=f"{about['title']}, serial {about['serial']}, {participant}",
            verdict=str(judge(checks)), sentence=describe_session(methods, table, checks),
            checks=[vars(one) for one in checks], facts=_list_facts(contents), results=results, table=table,
            calibrations=calibrations, pictures=drawn, scans=scans,
            problems=problems,
        ),
    )  # fmt: skip
    log.info("%s, session %s: %d methods", site, session, len(results))


def _widen(table: pd.DataFrame, found: MethodResult, content: dict[str, Any]) -> pd.DataFrame:
    """The rows of the vials that were measured, with both estimates of each and where it lies."""
    own = pd.DataFrame(
        {
            "vial": [one.vial for one in found.measurements], "method": found.method.key, "run": found.run,
            "voxel_measured": found.voxels[:, 0], "voxel_stderr": found.voxels[:, 1],
            "mean_measured": found.means[:, 0], "mean_stderr": found.means[:, 1],
        }
    )  # fmt: skip
    return own.merge(table, on="vial", how="left", validate="one_to_one")


def _list_facts(contents: list[dict[str, Any]]) -> list[tuple[str, str]]:
    about = contents[0]["about"]
    scanner = next((c["about"]["scanner"] for c in contents if c["about"]["scanner"]), {})
    words = " ".join(scanner.get(key, "") for key in ("Manufacturer", "ManufacturersModelName")).strip()
    more = f"serial {scanner.get('DeviceSerialNumber') or 'not told'}, {scanner.get('SoftwareVersions', '')}"
    warmth = "not known" if about["temperature"] is None else f"{about['temperature']:g} °C"
    facts = [
        ("Phantom", f"{about['title']}, serial {about['serial']}"),
        ("Temperature", f"{warmth} ± {about['temperature_stderr']:g} °C, as the site's log says"),
        ("Scanner", f"{words or 'not told'}, {about['field_strength']:g} T, {more}"),
        ("Date of the scan", about["date"]),
        ("What is judged here", "this session alone; the certificate holds the site against the trial's protocol"),
    ]
    for content in contents:
        name = content["about"]["biomarker"]
        if content["method"] is not None:
            facts.append((f"Where vials of {name} lie", f"{content['how']}; confidence {content['confidence']:.2f}"))
        if content["about"].get("source"):
            facts.append((f"Reference of {name}", content["about"]["source"]))
    return facts


if __name__ == "__main__":
    run_step(make_phantom_page, globals())
