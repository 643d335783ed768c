"""Onboarding: is this site's data what the trial asked for, and what must the site change?

Every check says what was expected, what was found and what to do. A check that does not hold counts as its
severity, ``warn`` or ``fail``; the site's verdict is its worst check. Odd data make a check fail, never raise:
a site whose data are odd is the one that needs the certificate.
"""

from isocenter.quality.acquisition import Acquisition, Grid
from isocenter.quality.arrival import check_completeness, check_extra_series, check_intake, check_sequences
from isocenter.quality.check import Check, build_verdict, judge, make_check, summarize
from isocenter.quality.consoles import Console, find_console
from isocenter.quality.differences import accept_differences, list_accepted
from isocenter.quality.geometry import check_geometry
from isocenter.quality.headers import check_headers
from isocenter.quality.phantom import check_control, check_phantom
from isocenter.quality.phantom_statistics import compute_phantom_statistics
from isocenter.quality.privacy import check_privacy
from isocenter.quality.protocol import check_parameters
from isocenter.quality.sampling import Axis, check_sampling
from isocenter.quality.shim import check_shim

__all__ = [
    "Acquisition",
    "Axis",
    "Check",
    "Console",
    "Grid",
    "accept_differences",
    "build_verdict",
    "check_completeness",
    "check_control",
    "check_extra_series",
    "check_geometry",
    "check_headers",
    "check_intake",
    "check_parameters",
    "check_phantom",
    "check_privacy",
    "check_sampling",
    "check_sequences",
    "check_shim",
    "compute_phantom_statistics",
    "find_console",
    "judge",
    "list_accepted",
    "make_check",
    "summarize",
]
