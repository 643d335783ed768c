"""Arterial inputs: population, table, region; blood and plasma; what is refused. (OSIPI's table: test_osipi_dce.)"""

from pathlib import Path

import numpy as np
import pytest
import yaml

from isocenter import fitting, models
from isocenter.errors import ConfigError, SidecarError, TableError
from isocenter.models.arterial_input import (
    CONSTANTS,
    average_region,
    plasma_from_blood,
    predict_population,
    resample_table,
)

CONFIG = Path(__file__).parents[2] / "config/arterial_input.yaml"
POPULATIONS = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
PARKER = POPULATIONS["parker"]["constants"]


def test_every_population_in_the_config_has_source_dose_and_constants():
    for name, entry in POPULATIONS.items():
        assert set(entry) == {"source", "dose", "hematocrit", "constants"}, name
        assert set(entry["constants"]) == set(CONSTANTS), name
        assert "doi" in entry["source"], name
        assert 0.3 < entry["hematocrit"] < 0.6, name


def test_the_bolus_arrives_when_it_is_said_to():
    times = np.arange(0.0, 300.0, 0.5)
    found = predict_population(times, PARKER, hematocrit=0.42, arrival=30.0)
    assert np.all(found[times < 30] == 0)
    # First pass 0.17 min after arrival, about 6 mM in blood.
    assert times[np.argmax(found)] == pytest.approx(30 + 60 * 0.17046, abs=0.6)
    assert found.max() * 0.58 == pytest.approx(6.07, abs=0.05)
    later = predict_population(times + 12.5, PARKER, hematocrit=0.42, arrival=42.5)
    np.testing.assert_allclose(later, found, rtol=1e-12)


def test_plasma_holds_all_of_the_contrast_agent():
    np.testing.assert_allclose(plasma_from_blood(np.array([0.0, 2.9]), hematocrit=0.42), [0.0, 5.0])
    for hematocrit in (1.0, -0.1, np.nan, [0.4, 0.5]):
        with pytest.raises(ConfigError, match="hematocrit"):
            plasma_from_blood(np.ones(3), hematocrit=hematocrit)


@pytest.mark.parametrize(
    "constants",
    [{}, {k: v for k, v in PARKER.items() if k != "width_1"}, PARKER | {"dose": 0.1}, PARKER | {"width_1": np.nan}],
)
def test_constants_that_are_not_those_are_refused(constants):
    with pytest.raises(ConfigError, match=r"width_1 \[min\]"):
        predict_population(np.arange(5.0), constants, hematocrit=0.42)


def test_a_table_is_read_between_its_points_and_not_beyond():
    found = resample_table(np.array([5.0, 15.0]), np.array([0.0, 10.0, 20.0]), np.array([0.0, 2.0, 1.0]), hematocrit=0)
    np.testing.assert_allclose(found, [1.0, 1.5])
    with pytest.raises(TableError, match="does not cover"):
        resample_table(np.array([5.0, 25.0]), np.array([0.0, 20.0]), np.array([0.0, 2.0]), hematocrit=0)
    for axis, values in (([0.0, 0.0], [1.0, 2.0]), ([0.0, 1.0], [1.0, np.nan]), ([0.0], [1.0]), ([0.0, 1.0], [1.0])):
        with pytest.raises(TableError, match="unusable"):
            resample_table(np.array([0.0]), np.array(axis), np.array(values), hematocrit=0)


def test_a_region_gives_mean_and_standard_error_and_leaves_gaps_out():
    rng = np.random.default_rng(0)
    truth = predict_population(4.0 * np.arange(60), PARKER, hematocrit=0.0, arrival=20.0)
    series = truth + rng.normal(0, 0.5, (8, 8, 2, 60))
    region = np.zeros((8, 8, 2), dtype=bool)
    region[2:7, 2:7] = True
    series[3, 3, 0, 12] = np.nan
    found, stderr = average_region(series, region, hematocrit=0.42)
    np.testing.assert_allclose(stderr * 0.58, 0.5 / 7, rtol=0.4)
    z = (found - truth / 0.58) / stderr
    assert np.abs(z).max() < 4.5
    assert 0.6 < z.std() < 1.4
    region[:] = False
    region[3, 3, 0] = True
    with pytest.raises(SidecarError, match="holds no voxel"):
        average_region(series, region, hematocrit=0.42)
    with pytest.raises(SidecarError, match="does not match"):
        average_region(series, region[0], hematocrit=0.42)


def test_an_input_that_is_sampled_finer_than_the_tissue_spares_a_bias():
    """Frames of 10 s miss the first pass by chance; the population average need not be sampled so coarsely."""
    fine = np.arange(0.0, 300.5, 0.25)
    coarse = np.arange(0.0, 300.0, 10.0)
    model = models.get("extended_tofts")
    off = []
    for arrival in (20.0, 22.0, 24.0):
        plasma = predict_population(fine, PARKER, hematocrit=0.42, arrival=arrival)
        own = {"ArterialInputFunction": plasma, "ArterialInputTimes": fine}
        bound = model.bind({"FrameTimesStart": coarse, **own})
        signal = bound.predict({"Ktrans": 0.15, "ve": 0.3, "vp": 0.05})
        np.testing.assert_allclose(fitting.fit(bound, signal).value["Ktrans"], 0.15, rtol=1e-6)
        sampled = predict_population(coarse, PARKER, hematocrit=0.42, arrival=arrival)
        shared = model.bind({"FrameTimesStart": coarse, "ArterialInputFunction": sampled})
        off.append(fitting.fit(shared, signal).value["Ktrans"] / 0.15 - 1)
    assert max(off) - min(off) > 0.2
