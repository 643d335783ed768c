"""Small trials, simulated once for all tests of the simulation."""

import pytest
from small_trials import PHANTOM, SMALL


@pytest.fixture(scope="session")
def tissues():
    from isocenter.simulation.template import load_tissues

    return load_tissues()


@pytest.fixture(scope="session")
def phantom():
    from isocenter.documents import read_phantom
    from isocenter.phantom.library import load_phantom

    return load_phantom(read_phantom(PHANTOM))


@pytest.fixture(scope="session")
def small_trial(tmp_path_factory):
    """Four sites, one traveler, two sessions; its folder and the progress it reported."""
    from simulate_trial import simulate_trial

    folder = tmp_path_factory.mktemp("trial")
    steps = []
    simulate_trial(
        PHANTOM, directory=folder, participants=1, options=SMALL, on_progress=lambda *step: steps.append(step)
    )
    return folder, steps
