"""The GRRAS checklist (Kottner 2011, doi 10.1016/j.jclinepi.2010.03.002): where each item stands, if it does."""

from isocenter.report.gather import Trial
from isocenter.report.tabulate import Cell, Table, table_of
from isocenter.report.wording import plural


def grras_table(trial: Trial) -> Table:
    """Each item with what it asks, where the report answers it, and whether it could be answered from the data."""
    rows = trial.tables["measurements"]
    people = rows[rows["kind"] != "phantom"] if "kind" in rows else rows
    n_people = people["participant_id"].nunique() if "participant_id" in people else 0
    n_sites = people["site"].nunique() if "site" in people else 0
    kinds = ", ".join(sorted(set(people["kind"]))) if "kind" in people else ""
    claims = len(trial.settings.get("claims", []))
    measured = len(people) > 0
    analyzed = len(trial.tables.get("reproducibility", [])) > 0
    counted = f"{plural(n_people, 'participant')} ({kinds}) at {plural(n_sites, 'site')}"
    said = plural(claims, "declared change") + ", each with its source"
    items = (
        ("1", "Title or abstract says that reliability or agreement was investigated", "Statistics report",
         "statistics.html", True, "the title of the report"),
        ("2", "The quantity and its measurement are named and described", "Methods: biomarkers",
         "methods.html#biomarkers", bool(trial.biomarkers), plural(len(trial.biomarkers), "biomarker")),
        ("3", "The population of interest is specified", "Methods: declared before the trial", "methods.html#claims",
         claims > 0, said if claims else "no context of use was declared"),
        ("4", "The population of measuring sites is specified", "Overview: sites and stages", "index.html#matrix",
         bool(trial.sites), plural(len(trial.sites), "site") + " with scanner and field strength on their pages"),
        ("5", "What is known already, and the reason for the study", "Methods: declared before the trial",
         "methods.html#claims", claims > 0, said if claims else "no change that matters was declared"),
        ("6", "How the sample size was chosen", "Statistics: what would settle it", "statistics.html#decisions", None,
         "the design's own reasons are the protocol's; what this design can settle is computed"),
        ("7", "How participants and sites were sampled", "The trial's protocol", "", None,
         "not in the data: to be told by the authors"),
        ("8", "The measurement process: times, conditions, procedure", "Methods: biomarkers", "methods.html#biomarkers",
         measured, "models, alignment, calibration and regions as they ran"),
        ("9", "Whether measurements were independent of one another", "Methods: statistics", "methods.html#statistics",
         measured, "every run is fitted by itself; a site's runs share its calibration"),
        ("10", "The statistical analysis", "Methods: statistics", "methods.html#statistics", analyzed,
         "definitions, intervals, rules of the verdict"),
        ("11", "Actual numbers of participants, sites and repeats", "Statistics: from received to analyzed",
         "statistics.html#flow", measured, counted if measured else "nothing was measured"),
        ("12", "Characteristics of participants and sites", "Pages of sites; descriptives of each quantity",
         "statistics.html#quantities", None, "values by site and session; age, sex and disease are not in the data"),
        ("13", "Estimates of reliability and agreement with their uncertainty", "Statistics: every quantity",
         "statistics.html#quantities", analyzed, "intervals and one-sided bounds with each estimate"),
        ("14", "What the results mean in practice", "Statistics: verdicts", "statistics.html#verdicts",
         analyzed and claims > 0, "the sentence of each verdict" if claims else "no verdict without a declared change"),
        ("15", "Detailed results, where they may be had", "Data", "tables/index.html", measured,
         "every table as TSV; every value leads to its scans"),
    )  # fmt: skip
    shown = [
        [number, Cell(asks), Cell(where, href=href), _standing(answered), Cell(note)]
        for number, asks, where, href, answered, note in items
    ]
    columns = ["Item", "Asks for", "Stands in", "Answered", "How"]
    return table_of("grras", columns, shown, is_simple=True)


def _standing(answered: bool | None) -> Cell:
    if answered is None:
        return Cell("in part", state="warn", title="the data cannot tell the rest")
    return Cell("yes", state="pass") if answered else Cell("not yet", state="none")
