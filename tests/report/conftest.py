"""One report of the made-up trial for all tests that only look at it."""

import pytest

from make_report import make_report

from .trial_tables import write_trial


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The trial's folder, the arguments of the step, and the report's folder."""
    root = tmp_path_factory.mktemp("trial")
    arguments = write_trial(root)
    folder = root / "results" / "report"
    make_report(**arguments, report=folder / "index.html")
    return root, arguments, folder
