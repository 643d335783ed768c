"""The onboarding certificate of a site: one file, no network, one page in print, readable without scripts.

On the screen everything is there, checks that pass folded away; in print what does not fit one page is counted and
stands in ``verdict.json``.
"""

import math
from pathlib import Path
from typing import Any

from isocenter.calibration.scale import scale_of
from isocenter.entities import Verdict
from isocenter.figures.palette import site_styles, state_of
from isocenter.figures.phantom import draw_vial_bias
from isocenter.io.nifti import write_bytes
from isocenter.quality.phantom_statistics import is_used
from isocenter.quality.values import as_number, as_text
from isocenter.report.figure import Figure
from isocenter.report.phantom_limits import find_limit
from isocenter.report.verdicts import day_of, describe_verdict
from isocenter.report.wording import VERDICT_WORDS, format_number, is_missing, plural, shorten, shown_unit

#: What one printed page holds; the rest is counted on it and shown on the screen.
PRINTED_CHANGES, PRINTED_VERDICTS = 7, 6
#: Pictures of the phantom side by side.
MOST_FIGURES = 2
#: A check of the phantom whose limit the picture shows as a band.
BAND = "max_abs_percent_bias"
#: The groups of checks in the order of a scan's way, in a reader's words.
GROUPS = {
    "intake": "What arrived",
    "completeness": "Visits",
    "sequences": "Series",
    "protocol": "Scan parameters",
    "geometry": "Slices and voxels",
    "headers": "Scanner and headers",
    "phantom": "Phantom",
    "shim": "Shim",
}
SENTENCES = {
    "pass": "This site may scan for the trial as it is.",
    "warn": "This site may scan for the trial; what is listed below should be changed before the next session.",
    "fail": "This site cannot be used yet: change what is listed below, scan again, and send the images.",
}


def write_certificate(
    path: Path,
    answer: dict[str, Any],
    history: list[dict[str, Any]],
    vials: list[dict[str, Any]],
    protocol: dict[str, Any],
    *,
    trial: str = "",
) -> None:
    """Write the page of a verdict.

    answer : what ``verdict.json`` holds; history : verdicts in order, this one last; vials : rows of ``vials.tsv``
    """
    from isocenter.report.render import TEMPLATES, render_page

    word = str(answer["verdict"])
    context = {
        "site": shorten(answer["site"], 40),
        "hospital": shorten(answer["title"] or answer["site"], 80),
        "trial": shorten(trial, 80),
        "protocol": shorten(protocol.get("title") or answer["protocol"], 80),
        "state": state_of(word),
        "word": VERDICT_WORDS.get(word, word),
        "sentence": SENTENCES.get(word, ""),
        "date": day_of(history[-1]) if history else "",
        "scanners": [_scanner(one, answer["tried"]) for one in answer["scanners"]],
        "changes": [_change(one) for one in answer["changes"]],
        "n_printed": PRINTED_CHANGES,
        "accepted": [_accepted(one) for one in answer["accepted"]],
        "groups": list_groups(answer["checks"]),
        "figures": draw_phantom(vials, protocol),
        "tried": list_tried(answer),
        "history": [describe_verdict(entry) for entry in history],
        "n_verdicts": PRINTED_VERDICTS,
        "style": (TEMPLATES / "style.css").read_text(encoding="utf-8"),
        "own_style": (TEMPLATES / "certificate.css").read_text(encoding="utf-8"),
    }
    write_bytes(path, render_page("certificate.html", context))


def _scanner(scanner: dict[str, Any], tried: dict[str, Any]) -> str:
    words = " ".join(str(scanner[key]) for key in ("manufacturer", "model") if scanner.get(key))
    parts = [words or str(scanner.get("id", "")), f"{scanner['field_strength']:g} T"]
    parts += [f"serial {scanner['serial']}"] if scanner.get("serial") else []
    return shorten(", ".join(parts), 90)


def _change(change: dict[str, Any]) -> dict[str, Any]:
    """One row of what to change, as the console says it."""
    scopes = [str(scope) for scope in change["scopes"]]
    more = f" and {len(scopes) - 2} more" if len(scopes) > 2 else ""
    return {
        "state": state_of(change["verdict"]),
        "word": str(change["verdict"]),
        "parameter": shorten(change["parameter"] or change["id"].replace("_", " "), 70),
        "found": shorten(change["console_found"] or change["found"], 160),
        "expected": shorten(_expected(change), 160),
        "remedy": shorten(change["remedy"], 320),
        "where": "; ".join(shorten(scope, 48) for scope in scopes[:2]) + more,
        "all_scopes": "; ".join(scopes[:40]),
    }


def _accepted(one: dict[str, Any]) -> str:
    """A difference that the trial accepts: which check, what it asks instead, why."""
    bounds = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in one["bounds"].items())
    return shorten(f"{one['series']}, {one['check'].replace('_', ' ')}: {bounds} ({one['reason']})", 160)


def _expected(check: dict[str, Any]) -> str:
    return str(check["console_expected"] or check["expected"])


def list_groups(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The checks by group: counts, the worst verdict, and a row each."""
    names = [*GROUPS, *sorted({check["group"] for check in checks} - set(GROUPS))]
    order = [Verdict.FAIL, Verdict.WARN, Verdict.PASS]
    groups = []
    for name in names:
        own = [check for check in checks if check["group"] == name]
        if not own:
            continue
        counts = {str(word): sum(check["verdict"] == word for check in own) for word in order}
        rows = [
            {
                "state": state_of(check["verdict"]),
                "word": str(check["verdict"]),
                "parameter": shorten(check["parameter"], 60),
                "where": shorten(check["scope"], 60),
                "found": shorten(check["console_found"] or check["found"], 80),
                "expected": shorten(_expected(check), 80),
            }
            for check in sorted(own, key=lambda check: order.index(check["verdict"]))
        ]
        worst = next(str(word) for word in order if counts[word])
        title = GROUPS.get(name, name)
        groups.append({"title": title, "state": state_of(worst), "word": worst, "counts": counts, "rows": rows})
    return groups


def list_tried(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """What the verdict rests on, as pairs of what and how much."""
    tried, counts = answer["tried"], answer["counts"]
    n_checks = sum(counts.values())
    scans = (plural(tried["acquisitions"], "scan"), plural(tried["participants"], "participant"))
    return [
        ("Checks", f"{n_checks}: {counts['pass']} pass, {counts['warn']} warn, {counts['fail']} fail"),
        (
            "DICOM series",
            f"{tried['series_received']} received, {tried['series_used']} used, "
            f"{tried['series_quarantined']} quarantined, {tried['series_ignored']} not needed",
        ),
        ("Scans", f"{scans[0]} of {scans[1]} in {plural(tried['sessions'], 'session')}"),
        ("Phantom", plural(tried["phantom_sessions"], "session")),
        ("Scanner software", shorten("; ".join(tried["software"]) or "not told", 90)),
        ("Console's words", shorten("; ".join(map(_tell_words, tried.get("consoles", []))) or "general ones", 160)),
        ("Judged by", f"Isocenter {tried['isocenter']}"),
    ]


def _tell_words(console: tuple[str, str]) -> str:
    """Whether the names of parameters are those that somebody saw."""
    maker, checked = console
    return f"{maker}: " + (f"read at {checked}" if checked else "from general knowledge, not checked at a console")


def draw_phantom(vials: list[dict[str, Any]], protocol: dict[str, Any]) -> list[Figure]:
    """The bias of every vial with the protocol's tolerance, one picture a biomarker."""
    figures = []
    for biomarker in dict.fromkeys(as_text(row.get("biomarker")) for row in vials):
        rows = [row for row in vials if as_text(row.get("biomarker")) == biomarker]
        figures.append(
            _draw_bias(shorten(biomarker, 24), rows, find_limit(protocol.get("phantom", []), BAND, biomarker))
        )
    return figures[:MOST_FIGURES]


def _draw_bias(biomarker: str, rows: list[dict[str, Any]], tolerance: float) -> Figure:
    unit, factor = shown_unit(as_text(rows[0].get("unit")))
    whole = scale_of(as_text(rows[0].get("unit"))).whole
    drawn = []
    for row in rows:
        reference, measured = as_number(row.get("reference")), as_number(row.get("measured"))
        size = whole or reference
        bias = 100 * (measured - reference) / size if size else math.nan
        error = 196 * as_number(row.get("stderr")) / size if size else math.nan
        text = (
            f"vial {as_text(row.get('vial'))}, session {as_text(row.get('session'))}: bias {format_number(bias, 1)} %"
        )
        drawn.append(
            {"reference": reference * factor, "bias": bias, "error": error, "session": as_text(row.get("session")),
             "used": is_used(row), "label": as_text(row.get("vial")), "title": text}
        )  # fmt: skip
    sessions = sorted({one["session"] for one in drawn})
    used = [abs(one["bias"]) for one in drawn if one["used"] and not is_missing(one["bias"])]
    worst = format_number(max(used), 1) if used else "–"
    tolerance = 0.0 if is_missing(tolerance) else tolerance
    band = f"band ±{tolerance:g} % (the protocol's limit), " if tolerance else ""
    alt = f"Bias of {biomarker} in each vial of the phantom: {len(used)} vials used, largest {worst} %"
    return Figure(
        f"{biomarker} of the phantom",
        alt,
        f"Measured minus reference before calibration, n = {len(used)} of {len(drawn)} vials used; {band}bars ±1.96 "
        "standard errors.",
        "", "", "",
        svg=draw_vial_bias(drawn, [], tolerance, unit, site_styles(sessions), alt),
    )  # fmt: skip
