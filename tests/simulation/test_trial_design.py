"""The plan of a trial: what follows from the settings before any image is made."""

import numpy as np
import pytest

from isocenter.errors import ConfigError
from isocenter.simulation.design import design_trial
from isocenter.simulation.settings import SimulationSettings


def test_the_default_trial_is_the_one_that_was_promised():
    design = design_trial(SimulationSettings())
    assert [s.dialect for s in design.sites] == ["siemens", "ge", "philips", "philips_enhanced"]
    assert len(design.participants) == 5
    heads = [a for a in design.acquisitions if a.kind == "traveler" and not a.is_derived]
    # 4 sites x 5 volunteers x 3 runs x 2 series, less the visit that never happened (1 run).
    assert len(heads) == 4 * 5 * 3 * 2 - 2
    assert sum(a.kind == "phantom" for a in design.acquisitions) == 4 * 2 * 2


def test_more_sessions_leave_the_earlier_ones_alone():
    two = {a.key: a for a in design_trial(SimulationSettings(sessions=2)).acquisitions}
    three = {a.key: a for a in design_trial(SimulationSettings(sessions=3)).acquisitions}
    assert set(two) < set(three)
    for key, plan in two.items():
        other = three[key]
        assert (plan.day, plan.start, plan.number, plan.has_spike) == (
            other.day,
            other.start,
            other.number,
            other.has_spike,
        )


@pytest.mark.parametrize("seed", range(5))
def test_ruler_errors_differ_between_sites_and_keep_their_bound(seed):
    design = design_trial(SimulationSettings(seed=seed, ruler_errors=0.08))
    for biomarker in ("T1", "T2"):
        errors = np.array([s.ruler_errors[biomarker] for s in design.sites])
        assert np.all(np.abs(errors) <= 0.08)
        assert np.all(np.abs(errors) >= 0.012)
        assert (errors > 0).sum() == 2
        assert np.min(np.diff(np.sort(errors))) > 0.01


def test_no_ruler_error_when_it_is_turned_off():
    design = design_trial(SimulationSettings(ruler_errors=0.0))
    assert all(error == 0 for site in design.sites for error in site.ruler_errors.values())


def test_every_bad_thing_is_planned_once_and_none_hits_another():
    design = design_trial(SimulationSettings())
    whats = [b.what for b in design.bad]
    assert sorted(whats) == sorted(
        {"non_dicom_file", "derived_map", "duplicate_upload", "missing_visit", "missing_inversion_time"}
        | {"truncated_dicom", "spike"}
    )
    visit = next(b for b in design.bad if b.what == "missing_visit")
    assert not [
        a
        for a in design.acquisitions
        if (a.site.name, a.participant, a.session) == (visit.site, visit.participant, visit.session)
    ]
    series = [(b.site, b.participant, b.session, b.run, b.suffix) for b in design.bad if b.suffix]
    assert len(series) == len(set(series))


@pytest.mark.parametrize(("sites", "participants"), [(1, 1), (2, 2), (3, 1), (4, 5), (5, 6)])
def test_bad_things_fit_into_small_trials(sites, participants):
    design = design_trial(SimulationSettings(sites=sites, participants=participants))
    planned = {(a.site.name, a.participant, a.session, a.run, a.suffix) for a in design.acquisitions}
    for thing in design.bad:
        if thing.suffix:
            assert (thing.site, thing.participant, thing.session, thing.run, thing.suffix) in planned


def test_bad_things_and_volunteers_can_be_left_out():
    assert design_trial(SimulationSettings(bad_things=False, spike=False)).bad == ()
    design = design_trial(SimulationSettings(phantoms_only=True))
    assert {a.kind for a in design.acquisitions} == {"phantom"}


@pytest.mark.parametrize("wrong", [{"sites": 0}, {"snr": 0.0}, {"ruler_errors": 0.7}, {"sessions": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SimulationSettings(**wrong)
