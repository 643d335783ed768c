"""What a metric's page shows, put together from its cards, figures and tables."""

from typing import Any

from isocenter.report.cards import verdict_cards
from isocenter.report.gather import Trial
from isocenter.report.metric_figures import metric_figures
from isocenter.report.metric_tables import metric_tables
from isocenter.report.metrics import Metric


def metric_context(trial: Trial, metric: Metric) -> dict[str, Any]:
    """What a metric's page shows."""
    cards = [c for c in verdict_cards(trial, biomarker=metric.biomarker, roi=metric.roi) if c["metric"] == metric]
    return {
        "metric": metric,
        "cards": cards,
        "figures": metric_figures(trial, metric),
        "tables": metric_tables(trial, metric),
    }
