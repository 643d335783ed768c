"""Write the report folder: pages from templates, tables as TSV and page, pictures, style and script."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

import isocenter
from isocenter.figures.palette import VERDICTS
from isocenter.io.nifti import write_bytes
from isocenter.io.tables import write_table
from isocenter.processes import run_in_order
from isocenter.report.alignments import copy_alignments
from isocenter.report.field_maps import copy_distortions
from isocenter.report.gather import Trial
from isocenter.report.methods import methods_context, run_facts
from isocenter.report.metric_context import metric_context
from isocenter.report.metrics import Metric, list_metrics, metric_page
from isocenter.report.overview import overview_context
from isocenter.report.pictures import copy_certificate, copy_json, copy_phantom_pages, copy_vial_pictures, write_mosaics
from isocenter.report.places import value_link, visit_page
from isocenter.report.sites import site_context
from isocenter.report.statistics_page import statistics_context
from isocenter.report.tabulate import whole_table
from isocenter.report.visit_index import VisitIndex, index_visits
from isocenter.report.visit_list import list_context
from isocenter.report.visits import visit_context
from isocenter.report.wording import keep_together, plural, shorten

log = logging.getLogger("isocenter")

TEMPLATES = Path(__file__).parent / "templates"

#: folders that a report owns and empties before it writes
_OWN = ("certificates", "figures", "metrics", "phantoms", "sites", "tables", "visits")


@dataclass(frozen=True)
class _Page:
    """A page to be: where it goes below the report's folder, its template, and what computes what it shows."""

    path: str
    template: str
    make: Callable[[], dict[str, Any]]


def write_report(trial: Trial, index: Path, threads: int = 1) -> None:
    """Write every page; `index` is the front page, its folder is the report.

    What the pages show is computed first, by `threads` processes, and then the pages are written, because each of them
    says what could not be read for any of them.
    """
    folder = index.parent
    for name in _OWN:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("style.css", "tables.js", "figures.js"):
        write_bytes(folder / name, (TEMPLATES / name).read_bytes())
    for name, table in trial.tables.items():
        source = trial.sources.get(name)
        if source is not None and source.is_file():
            write_bytes(folder / "tables" / f"{name}.tsv", source.read_bytes())
        else:
            write_table(folder / "tables" / f"{name}.tsv", table)
    copy_json(trial, folder)

    metrics, visits = list_metrics(trial), index_visits(trial)
    pages = _list_pages(trial, index, metrics, visits)

    def compute(number: int) -> tuple[dict[str, Any], list[str]]:
        before = len(trial.problems)
        context = pages[number].make()
        found = trial.problems[before:]
        del trial.problems[before:]
        return context, found

    contexts = list(run_in_order(compute, len(pages), threads))
    trial.problems += [problem for _, found in contexts for problem in found]
    common = {
        "title": shorten(trial.settings.get("trial", "Trial"), 90),
        "sites": trial.sites,
        "metrics": [(metric.title, metric_page(metric)) for metric in metrics],
        "facts": run_facts(trial, with_tools=False),
        "problems": list(dict.fromkeys(shorten(problem, 400) for problem in trial.problems)),
        "table_names": list(trial.tables),
    }

    def write(number: int) -> None:
        page, (context, _) = pages[number], contexts[number]
        shown = {"root": "../" * page.path.count("/"), **common, **context}
        write_bytes(folder / page.path, render_page(page.template, shown))

    for _ in run_in_order(write, len(pages), threads):
        pass
    log.info("report of %s and %s: %s", plural(len(trial.sites), "site"), plural(len(metrics), "metric"), index)


def _list_pages(trial: Trial, index: Path, metrics: list[Metric], visits: VisitIndex) -> list[_Page]:
    """Every page, the longest work first."""
    folder = index.parent
    pages = [_Page(f"sites/{s}.html", "site.html", partial(_site, trial, s, folder, visits)) for s in trial.sites]
    pages += [_Page(metric_page(m), "metric.html", partial(metric_context, trial, m)) for m in metrics]
    pages += [
        _Page(visit_page(*visit), "visit.html", partial(visit_context, trial, visit, visits, folder))
        for visit in visits.visits
    ]
    links = {"measurements": {"value": value_link}}
    pages += [
        _Page(f"tables/{name}.html", "table.html", partial(_table, name, table, links.get(name, {})))
        for name, table in trial.tables.items()
    ]
    return [
        *pages,
        _Page("tables/index.html", "data.html", lambda: {"listing": _listing(trial)}),
        _Page("visits/index.html", "visits.html", partial(list_context, visits)),
        _Page("methods.html", "methods.html", partial(methods_context, trial)),
        _Page("statistics.html", "statistics.html", partial(statistics_context, trial)),
        _Page(index.name, "index.html", lambda: overview_context(trial) | {"visit_counts": visits.counts()}),
    ]


def _site(trial: Trial, site: str, folder: Path, visits: VisitIndex) -> dict[str, Any]:
    mosaics = write_mosaics(trial, site, folder)
    pictures, pages = copy_vial_pictures(trial, site, folder), copy_phantom_pages(trial, site, folder)
    distortions = copy_distortions(trial, site, folder)
    alignments = copy_alignments(trial, site, folder)
    context = site_context(trial, site, mosaics, pictures, pages, distortions, alignments)
    sessions = [(f"sub-{v[1]} ses-{v[2]}", visit_page(*v)) for v in visits.visits if v[0] == site]
    return context | {"certificate": copy_certificate(trial, site, folder), "sessions": sessions}


def _table(name: str, table: Any, links: dict[str, Any]) -> dict[str, Any]:
    return {"table": whole_table(name, table, links)}


def _listing(trial: Trial) -> list[tuple[str, str, int]]:
    from isocenter.report.dictionary import TABLES

    return [(name, TABLES.get(name, ""), len(table)) for name, table in trial.tables.items()]


def render_page(template: str, context: dict[str, Any]) -> bytes:
    """A page from a template and what it shows."""
    return (_environment().get_template(template).render(context).rstrip() + "\n").encode("utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        symbols={state: symbol for state, (_, symbol) in VERDICTS.items()}, version=isocenter.__version__, plural=plural
    )
    # Only text that isocenter.figures drew (and escaped) passes through this filter.
    environment.filters["drawing"] = Markup
    environment.filters["unbroken"] = keep_together
    # The name of a column may go on in the next line: 33 of them stand beside each other on paper.
    environment.filters["breakable"] = lambda name: Markup(str(escape(name)).replace("_", "_<wbr>"))
    return environment
