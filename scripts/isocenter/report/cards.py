"""A verdict card a primary metric: the sentence, the numbers behind it, and what to mind."""

import re
from typing import Any

from isocenter.figures.bounds import draw_bound_strip
from isocenter.figures.palette import state_of
from isocenter.report.claims import find_contradictions
from isocenter.report.gather import Trial
from isocenter.report.metrics import Metric, metric_page, times
from isocenter.report.tabulate import Cell, Table, row_link, table_of, verdict_cell
from isocenter.report.wording import (
    VERDICT_WORDS,
    explain_flag,
    explain_flags,
    format_number,
    is_missing,
    shorten,
    shown_unit,
)

#: what decides, in full
COEFFICIENTS = {
    "repeatability": "repeatability coefficient (RC)",
    "intermediate_precision": "intermediate precision coefficient",
    "reproducibility": "reproducibility coefficient (RDC)",
}


def verdict_cards(trial: Trial, **equal: Any) -> list[dict[str, Any]]:
    """One card a primary metric, as ``qualification.tsv`` orders them; `equal` narrows the rows."""
    cards = []
    for index, row in trial.rows("qualification", **equal).iterrows():
        metric = Metric.of_row(row)
        unit, factor = decision_unit(row)
        estimate, lower, upper, delta = (times(row.get(c), factor) for c in ("estimate", "lower95", "upper95", "delta"))
        verdict = str(row["verdict"])
        facts, method = _design_facts(trial, row), _bound_method(trial, row)
        contradictions = find_contradictions(row)
        alt = (
            f"{metric.title}: estimate {format_number(estimate)} {unit}, one-sided 95 % bounds "
            f"{format_number(lower)} to {format_number(upper)} {unit}, "
            f"change that matters {format_number(delta)} {unit}"
        )
        cards.append(
            {
                "metric": metric,
                "verdict": verdict,
                "state": state_of(verdict),
                "word": VERDICT_WORDS.get(verdict, verdict),
                "sentence": "" if is_missing(row.get("sentence")) or contradictions else str(row["sentence"]),
                "contradictions": contradictions,
                "context": "" if is_missing(row.get("context_of_use")) else str(row["context_of_use"]),
                "stage": "" if is_missing(row.get("stage")) else str(row["stage"]),
                "coefficient": str(row.get("coefficient", "")).replace("_", " "),
                "coefficient_title": COEFFICIENTS.get(str(row.get("coefficient")), str(row.get("coefficient", ""))),
                "strip": draw_bound_strip(estimate, lower, upper, delta, unit, state_of(verdict), alt),
                "numbers": [
                    ("estimate", f"{format_number(estimate)} {unit}"),
                    (
                        f"one-sided 95 % bounds{f', {method}' if method else ''}",
                        f"{format_number(lower)} … {format_number(upper)} {unit}",
                    ),
                    ("change that matters", f"{format_number(delta)} {unit}"),
                    *facts,
                ],
                "bounds": f"{format_number(estimate)} ({format_number(upper)}) {unit}",
                "delta": f"{format_number(delta)} {unit}",
                "over_delta": [v / delta if delta else float("nan") for v in (estimate, lower, upper)],
                "flags": explain_flags(row.get("flags")),
                "reasons": []
                if is_missing(row.get("reasons"))
                else [_say_reason(reason.strip()) for reason in str(row["reasons"]).split(";")],
                "settle": "" if is_missing(row.get("settle")) else str(row["settle"]),
                "delta_source": "" if is_missing(row.get("delta_source")) else str(row["delta_source"]),
                "page": metric_page(metric),
                "row": row_link("qualification", index),
            }
        )
    return cards


def decision_unit(row: Any) -> tuple[str, float]:
    """The unit and factor of the decision columns of a row of ``qualification.tsv``."""
    return shown_unit(row.get("unit"))


def _coefficient_row(trial: Trial, row: Any) -> Any:
    """The row of ``reproducibility.tsv`` that a decision rests on, or None."""
    found = Metric.of_row(row).rows(
        trial, "reproducibility", stage=row.get("stage"), scale=row.get("scale"), coefficient=row["coefficient"]
    )
    return found.iloc[0] if len(found) else None


def _bound_method(trial: Trial, row: Any) -> str:
    r = _coefficient_row(trial, row)
    method = "" if r is None or is_missing(r.get("method")) else str(r["method"])
    return shorten(method, 24)


def _design_facts(trial: Trial, row: Any) -> list[tuple[str, str]]:
    r = _coefficient_row(trial, row)
    if r is None:
        return []
    facts = [
        (label, format_number(r.get(column), 0)) for label, column in (("subjects", "n_subjects"), ("sites", "n_sites"))
    ]
    return [*facts, ("df", format_number(r.get("df"), 1 if not is_missing(r.get("df")) and float(r["df"]) % 1 else 0))]


def verdict_table(cards: list[dict[str, Any]]) -> Table:
    """One line a primary metric: the verdict, its sentence, why it is not qualified, and what would settle it."""
    rows = [
        [
            Cell(c["metric"].title, href=c["page"]),
            verdict_cell(c["verdict"], href=c["row"]),
            Cell(c["sentence"] or "; ".join(c["contradictions"]) or "The statistics gave no sentence."),
            Cell("–" if c["verdict"] == "qualified" else _why(c) or "–"),
        ]
        for c in cards
    ]
    columns = ["Quantity", "Verdict", "In a sentence", "Why, and what would settle it"]
    empty = "No verdict: no change that matters was declared in config/claims.yaml, or nothing could be measured."
    return table_of("verdicts", columns, rows, source="qualification.tsv", empty=empty, is_simple=True)


def _say_reason(reason: str) -> str:
    """A reason in words: where no number could be made, the statistics name a flag."""
    return explain_flag(reason) if re.fullmatch("[a-z0-9_]+", reason) else reason


def _why(card: dict[str, Any]) -> str:
    return ". ".join(part for part in ("; ".join(card["reasons"]), card["settle"]) if part)
