"""The truth of a simulated trial as tables: what a perfect pipeline would find."""

from collections.abc import Iterable

import pandas as pd

from isocenter.simulation.design import Acquisition, BadThing, TrialDesign
from isocenter.simulation.scanner import SimulatedSeries
from isocenter.simulation.techniques import TECHNIQUES

ROI_COLUMNS = ("site", "participant_id", "session", "run", "biomarker", "roi", "truth", "unit")
VIAL_COLUMNS = ("site", "session", "phantom", "serial", "biomarker", "vial", "truth", "unit")
RULER_COLUMNS = ("site", "biomarker", "ruler_error", "unit")
BAD_COLUMNS = ("site", "what", "participant_id", "session", "run", "suffix", "path", "expected_stage", "expected")

#: One row of a table, in the order of its columns.
RegionTruth = tuple[str, str, str, str, str, str, float, str]
VialRow = tuple[str, str, str, str, str, int, float, str]


def list_region_truth(plan: Acquisition, series: SimulatedSeries) -> list[RegionTruth]:
    """The true values of one series's regions."""
    where = (plan.site.name, plan.participant, plan.session, plan.run)
    units = {technique.biomarker: technique.unit for technique in TECHNIQUES.values()}
    return [(*where, biomarker, roi, value, units[biomarker]) for roi, biomarker, value in series.roi_truth]


def list_vial_truth(plan: Acquisition, series: SimulatedSeries) -> list[VialRow]:
    """The true values [s] of the vials in one series of a phantom."""
    biomarker = "T1" if plan.suffix == "IRT1" else "T2"
    where = (plan.site.name, plan.session, plan.participant, plan.site.phantom_serial, biomarker)
    return [(*where, v.vial, v.t1 if biomarker == "T1" else v.t2, "s") for v in series.vial_truth]


def tabulate_regions(rows: Iterable[RegionTruth]) -> pd.DataFrame:
    """The true values of all regions, sorted."""
    return pd.DataFrame(rows, columns=ROI_COLUMNS).sort_values(list(ROI_COLUMNS[:6]), ignore_index=True)


def tabulate_vials(rows: Iterable[VialRow]) -> pd.DataFrame:
    """The true values of all vials, sorted."""
    return pd.DataFrame(rows, columns=VIAL_COLUMNS).sort_values(list(VIAL_COLUMNS[:6]), ignore_index=True)


def tabulate_rulers(design: TrialDesign) -> pd.DataFrame:
    """Each site's ruler errors: what a scanner calls t (or b) was t * (1 + error)."""
    rows = [(site.name, b, error, "1") for site in design.sites for b, error in site.ruler_errors.items()]
    return pd.DataFrame(rows, columns=RULER_COLUMNS)


def tabulate_bad_things(found: Iterable[tuple[BadThing, str]]) -> pd.DataFrame:
    """What went wrong on purpose, and where it lies (relative to the site's DICOM folder)."""
    rows = [
        (b.site, b.what, b.participant, b.session, b.run, b.suffix, path, b.expected_stage, b.expected)
        for b, path in sorted(found, key=lambda pair: pair[0].site)
    ]
    return pd.DataFrame(rows, columns=BAD_COLUMNS)
