"""Which pulses a site's phantom chose for its echo trains, and how the other candidates did."""

from typing import Any

import numpy as np

from isocenter.phantom.pulse_options import describe_pulses
from isocenter.report.gather import Trial
from isocenter.report.tabulate import Cell, Table, number_cell, table_of
from isocenter.report.wording import format_number, shorten

#: Candidates that a page shows: the best ones, and the ideal pulses wherever they stand.
SHOWN = 12


def list_pulses(trial: Trial, site: str) -> list[dict[str, Any]]:
    """One entry a biomarker and scanner of a site: a sentence, and the table of candidates."""
    entries = []
    for (own, biomarker), content in sorted(trial.pulses.items()):
        if own != site:
            continue
        chosen = content.get("choices", [])
        entries += [_describe(biomarker, choice) for choice in chosen]
        refused = content.get("left_out", [])
        if refused or not chosen:
            why = "; ".join(f"{one['scan']}: {shorten(one['reason'], 200)}" for one in refused)
            words = "the options of the trial's configuration are used where no other choice holds"
            sentence = f"{why or 'no echo train of a phantom was received'}. So {words}."
            entries.append(_entry(biomarker, "scans left out", sentence, []))
    return entries


def _entry(biomarker: str, scanner: str, sentence: str, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    return {"biomarker": biomarker, "scanner": scanner, "sentence": sentence, "table": _table(candidates)}


def _describe(biomarker: str, choice: dict[str, Any]) -> dict[str, Any]:
    times = np.atleast_1d(np.asarray(choice["protocol"].get("EchoTime", []), dtype=float))
    train = f"{times.size} echoes, first at {1e3 * times.min():.4g} ms"
    scanner = f"scanner {choice['scanner']}, {train}"
    if not choice.get("options"):
        return _entry(biomarker, scanner, f"{scanner}: none could be chosen. {shorten(choice['reason'], 300)}", [])
    candidates = choice["candidates"]
    scans = ", ".join(one["scan"] for one in choice["trains"])
    ideal = next((c for c in candidates if c["profile"] == "none"), None)
    beside = (
        f", with ideal pulses {format_number(ideal['residual'], 1)}" if ideal and ideal is not candidates[0] else ""
    )
    sentence = (
        f"{scanner}: {describe_pulses(choice['options'])}. Residual {format_number(candidates[0]['residual'], 1)} of "
        f"the image's units{beside}, the smallest of {len(candidates)} candidates over {scans}."
    )
    return _entry(biomarker, scanner, sentence, candidates)


def _table(candidates: list[dict[str, Any]]) -> Table:
    best = candidates[:SHOWN] + [c for c in candidates[SHOWN:] if c["profile"] == "none"]
    rows = [
        [
            Cell("chosen" if one is candidates[0] else "", state="pass" if one is candidates[0] else ""),
            Cell(describe_pulses(one)),
            number_cell(format_number(one["residual"], 2), one["residual"]),
            number_cell(str(one["fitted"]), one["fitted"]),
        ]
        for one in best
    ]
    columns = ["Choice", "Pulses", "Residual [image units]", "Vials fitted"]
    return table_of("pulses", columns, rows, is_simple=True, empty="No candidate was tried.")
