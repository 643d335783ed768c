"""What a metric's page shows, put together from its cards, figures and tables."""

from typing import Any

from isocenter.report.cards import verdict_cards
from isocenter.report.course_figures import changes, precision_profile
from isocenter.report.extra_tables import list_extra_tables
from isocenter.report.gather import Trial
from isocenter.report.metric_extras import alternatives, drift, profiles, value_table
from isocenter.report.metric_figures import metric_figures
from isocenter.report.metric_tables import metric_tables
from isocenter.report.metrics import Metric


def metric_context(trial: Trial, metric: Metric) -> dict[str, Any]:
    """What a metric's page shows."""
    cards = [c for c in verdict_cards(trial, biomarker=metric.biomarker, roi=metric.roi) if c["metric"] == metric]
    more = {
        "profiles": profiles(trial, metric),
        "drift": drift(trial, metric),
        "alternatives": alternatives(trial, metric),
        "profile": precision_profile(trial, metric),
        "changes": changes(trial, metric),
    }
    return {
        "metric": metric,
        "cards": cards,
        "figures": metric_figures(trial, metric) | more,
        "tables": metric_tables(trial, metric) | {"values": value_table(trial, metric)},
        "extra": list_extra_tables(trial, metric),
        "calibrated_sites": sorted({site for site, name in trial.calibrations if name == metric.biomarker}),
    }
