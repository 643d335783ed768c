"""Write the report folder: pages from templates, tables as TSV and page, pictures, style and script."""

import logging
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import isocenter
from isocenter.figures.palette import VERDICTS
from isocenter.io.nifti import write_bytes
from isocenter.io.tables import write_table
from isocenter.report.alignments import copy_alignments
from isocenter.report.field_maps import copy_distortions
from isocenter.report.gather import Trial
from isocenter.report.methods import methods_context, run_facts
from isocenter.report.metric_context import metric_context
from isocenter.report.metrics import list_metrics, metric_page
from isocenter.report.overview import overview_context
from isocenter.report.pictures import copy_certificate, copy_json, copy_phantom_pages, copy_vial_pictures, write_mosaics
from isocenter.report.places import value_link, visit_page
from isocenter.report.sites import site_context
from isocenter.report.statistics_page import statistics_context
from isocenter.report.tabulate import whole_table
from isocenter.report.visit_index import index_visits
from isocenter.report.visit_list import list_context
from isocenter.report.visits import visit_context
from isocenter.report.wording import plural, shorten

log = logging.getLogger("isocenter")

TEMPLATES = Path(__file__).parent / "templates"

#: folders that a report owns and empties before it writes
_OWN = ("certificates", "figures", "metrics", "phantoms", "sites", "tables", "visits")


def write_report(trial: Trial, index: Path) -> None:
    """Write every page; `index` is the front page, its folder is the report."""
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

    sites = {}
    for site in trial.sites:
        mosaics = write_mosaics(trial, site, folder)
        pictures, pages = copy_vial_pictures(trial, site, folder), copy_phantom_pages(trial, site, folder)
        distortions = copy_distortions(trial, site, folder)
        alignments = copy_alignments(trial, site, folder)
        sites[site] = site_context(trial, site, mosaics, pictures, pages, distortions, alignments)
        sites[site]["certificate"] = copy_certificate(trial, site, folder)
    metrics, visits = list_metrics(trial), index_visits(trial)
    common = {
        "title": shorten(trial.settings.get("trial", "Trial"), 90),
        "sites": trial.sites,
        "metrics": [(metric.title, metric_page(metric)) for metric in metrics],
        "facts": run_facts(trial, with_tools=False),
        "problems": [shorten(problem, 400) for problem in trial.problems],
        "table_names": list(trial.tables),
    }
    _page(folder / "methods.html", "methods.html", "", common, methods_context(trial))
    _page(folder / "statistics.html", "statistics.html", "", common, statistics_context(trial))
    _page(folder / "tables" / "index.html", "data.html", "../", common, {"listing": _listing(trial)})
    links = {"measurements": {"value": value_link}}
    for name, table in trial.tables.items():
        shown = whole_table(name, table, links.get(name, {}))
        _page(folder / "tables" / f"{name}.html", "table.html", "../", common, {"table": shown})
    for site, context in sites.items():
        _page(folder / "sites" / f"{site}.html", "site.html", "../", common, context)
    for metric in metrics:
        _page(folder / metric_page(metric), "metric.html", "../", common, metric_context(trial, metric))
    for visit in visits.visits:
        context = visit_context(trial, visit, visits, folder)
        _page(folder / visit_page(*visit), "visit.html", "../", common, context)
    _page(folder / "visits" / "index.html", "visits.html", "../", common, list_context(visits))
    # Last, since it says what went wrong while the others were made.
    common["problems"] = [shorten(problem, 400) for problem in trial.problems]
    counts = {"visit_counts": visits.counts()}
    _page(index, "index.html", "", common, overview_context(trial) | counts)
    log.info("report of %s and %s: %s", plural(len(sites), "site"), plural(len(metrics), "metric"), index)


def _listing(trial: Trial) -> list[tuple[str, str, int]]:
    from isocenter.report.dictionary import TABLES

    return [(name, TABLES.get(name, ""), len(table)) for name, table in trial.tables.items()]


def _page(path: Path, template: str, root: str, common: dict[str, Any], context: dict[str, Any]) -> None:
    text = _environment().get_template(template).render({"root": root, **common, **context})
    write_bytes(path, (text.rstrip() + "\n").encode("utf-8"))


def render_page(template: str, context: dict[str, Any]) -> bytes:
    """A page that stands by itself, from a template and what it shows."""
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
    return environment
