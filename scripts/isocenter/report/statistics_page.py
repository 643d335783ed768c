"""The statistician's front page: a card a verdict, all decisions on one axis, where the data went, every quantity."""

from typing import Any

from isocenter.figures.decisions import draw_decisions
from isocenter.report.cards import verdict_cards
from isocenter.report.figure import Figure
from isocenter.report.flow_figure import accounting_table, flow_figure
from isocenter.report.gather import Trial
from isocenter.report.metric_figures import pick
from isocenter.report.metrics import Metric, declared, list_metrics, metric_page, show_coefficient, times
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of, verdict_cell
from isocenter.report.wording import VERDICT_WORDS, format_interval, format_number, is_missing
from isocenter.statistics.verdict import MINIMUM_DF


def statistics_context(trial: Trial) -> dict[str, Any]:
    """What ``statistics.html`` shows."""
    cards = verdict_cards(trial)
    return {
        "cards": cards,
        "minimum_df": MINIMUM_DF,
        "decisions": decisions_figure(cards),
        "settle": settle_table(cards),
        "flow": flow_figure(trial),
        "accounting": accounting_table(trial),
        "precision": precision_table(trial, cards),
        "stability": stability_table(trial, cards),
    }


def decisions_figure(cards: list[dict[str, Any]]) -> Figure:
    """The bounds of every primary metric over the change that matters to it."""
    rows = []
    for c in cards:
        estimate, lower, upper = c["over_delta"]
        said = f"{c['metric'].title}: {c['bounds']} for a change of {c['delta']}, {c['word']}"
        rows.append(
            {
                "label": c["metric"].title, "estimate": estimate, "lower": lower, "upper": upper, "state": c["state"],
                "word": c["word"], "title": said, "href": c["page"],
            }
        )  # fmt: skip
    alt = "One-sided 95 % bounds over the change that matters: " + "; ".join(
        f"{r['label']} {format_number(r['estimate'])} (upper {format_number(r['upper'])}), {r['word']}" for r in rows
    )
    return Figure(
        "Bounds against the change that matters",
        alt,
        f"Each bar runs between the one-sided 95 % bounds of the coefficient that decides (n = {len(rows)} primary "
        "quantities), the ring is its estimate, all divided by the change that was declared to matter. An arrow is a "
        "bound beyond the axis.",
        "estimate, lower95 and upper95 over delta, from qualification.tsv.",
        "The whole bar lies left of the line: precision is good enough, with 95 % confidence.",
        f"Preconditions and degrees of freedom. A bar left of the line is qualified only where linearity, bias and "
        f"accounting hold too, and with {MINIMUM_DF} degrees of freedom or more; the word at the right counts them in.",
        svg=draw_decisions(rows, alt) if rows else "",
        sources=[("qualification.tsv", "tables/qualification.html")],
        empty="" if rows else "No change that matters was declared; so there is no decision.",
        is_wide=True,
    )


def settle_table(cards: list[dict[str, Any]]) -> Table:
    """What each verdict rests on, and what would settle those that are open."""
    rows = [
        [
            Cell(c["metric"].title, href=c["page"]),
            verdict_cell(c["verdict"], href=c["row"]),
            Cell(c["coefficient"]),
            number_cell(format_number(c["over_delta"][2]), c["over_delta"][2], c["row"]),
            Cell("; ".join(c["reasons"])),
            Cell(c["settle"] or ("nothing: it is settled" if c["verdict"] != "indeterminate" else "not known")),
        ]
        for c in cards
    ]
    columns = ["Quantity", "Verdict", "Decided by", "Upper bound over delta [1]", "Because", "What would settle it"]
    empty = "No verdict: no change that matters was declared, or nothing could be measured."
    return table_of("settle", columns, rows, source="qualification.tsv", empty=empty)


def precision_table(trial: Trial, cards: list[dict[str, Any]]) -> Table:
    """Every quantity of the trial in one line, with or without a verdict; all in percent of the mean."""
    verdicts = {c["metric"]: c for c in cards}
    rows = []
    for metric in list_metrics(trial):
        card = verdicts.get(metric)
        repeat = pick(metric.rows(trial, "repeatability"), site="pooled", stage="calibrated")
        coefficients = declared(trial, metric, "reproducibility")
        rdc = pick(coefficients, stage="calibrated", coefficient="reproducibility")
        raw = pick(coefficients, stage="raw", coefficient="reproducibility")
        icc = pick(metric.rows(trial, "agreement"), stage="calibrated", form="ICC_between_sites")
        rows.append(
            [
                Cell(metric.title, href=metric_page(metric)),
                verdict_cell(card["verdict"], href=card["row"]) if card else Cell("not declared", state="none"),
                _interval(repeat, "wcv", "wcv_low", "wcv_high", 100.0, "repeatability"),
                *(_percent_interval(row) for row in (raw, rdc)),
                _percent(rdc, "upper95"),
                _interval(icc, "estimate", "low", "high", 1.0, "agreement"),
                number_cell(*_count(rdc, "n_subjects")),
                number_cell(*_count(rdc, "n_sites")),
            ]
        )
    columns = [
        "Quantity", "Verdict", "wCV of repeats [%], 95 % CI", "RDC before calibration [%], 95 % CI",
        "RDC calibrated [%], 95 % CI", "RDC, one-sided upper 95 % bound [%]", "ICC between sites [1], 95 % CI",
        "Participants", "Sites",
    ]  # fmt: skip
    return table_of("precision", columns, rows, empty="No quantity was measured.")


def _interval(row: Any, value: str, low: str, high: str, factor: float, table: str) -> Cell:
    if row is None:
        return Cell("–", is_number=True)
    shown = [times(row.get(c), factor) for c in (value, low, high)]
    return number_cell(format_interval(*shown), shown[0], row_link(table, row.name))


def _percent(row: Any, name: str) -> Cell:
    """A coefficient or its bound as percent of the mean."""
    if row is None:
        return Cell("–", is_number=True)
    value = _in_percent(row, name)
    return number_cell(format_number(value), value, row_link("reproducibility", row.name))


def _percent_interval(row: Any) -> Cell:
    """A coefficient with its two-sided interval as percent of the mean."""
    if row is None:
        return Cell("–", is_number=True)
    values = [_in_percent(row, name) for name in ("estimate", "low", "high")]
    return number_cell(format_interval(*values), values[0], row_link("reproducibility", row.name))


def _in_percent(row: Any, name: str) -> float:
    """Percent of the mean; on an absolute scale by the share that the estimate is."""
    if str(row.get("scale")) == "log":
        return show_coefficient(row, name)
    estimate = times(row.get("estimate"), 1)
    return times(row.get("percent"), 1) * times(row.get(name), 1) / estimate if estimate else float("nan")


def _count(row: Any, name: str) -> tuple[str, Any, str]:
    value = None if row is None else row.get(name)
    return format_number(value, 0), value, "" if row is None else row_link("reproducibility", row.name)


def stability_table(trial: Trial, cards: list[dict[str, Any]]) -> Table:
    """Whether another analysis would decide otherwise, and which."""
    rows = []
    for c in cards:
        metric: Metric = c["metric"]
        found = metric.rows(trial, "sensitivity")
        others = found[(found["analysis"] != "primary") & (found["verdict"] != "")] if len(found) else found
        differ = others[others["verdict"] != c["verdict"]] if len(others) else others
        said = "; ".join(
            f"{_analysis(r['analysis'])}: {VERDICT_WORDS.get(str(r['verdict']), str(r['verdict']))}"
            for _, r in differ.iterrows()
        )
        n = len(others)
        text = "no other analysis" if not n else f"{n - len(differ)} of {n}"
        rows.append(
            [
                Cell(metric.title, href=f"{c['page']}#sensitivity"),
                verdict_cell(c["verdict"], href=c["row"]),
                Cell(
                    text,
                    repr((n - len(differ)) / n) if n else "",
                    state="warn" if len(differ) else "pass" if n else "none",
                ),
                Cell(said or ("–" if n else "")),
            ]
        )
    columns = ["Quantity", "Verdict", "Other analyses that agree", "What the others say"]
    empty = "No verdict, so nothing to hold it against."
    return table_of("stability", columns, rows, source="sensitivity.tsv", empty=empty)


def _analysis(name: Any) -> str:
    return "" if is_missing(name) else str(name).replace("_", " ")
