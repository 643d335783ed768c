"""``isocenter fit`` of dynamic contrast-enhanced series: signal or concentration, and whence the arterial input."""

import numpy as np
import pytest
import yaml

from isocenter import models
from isocenter.errors import ConfigError, IsocenterError, SidecarError
from isocenter.fit_command import ALL_VOXELS, fit_files
from isocenter.fitting.maps import fit_series
from isocenter.io.nifti import read_map, read_sidecar, write_image
from isocenter.io.series import read_parts
from isocenter.models.arterial_input import predict_population
from isocenter.models.concentration import signal_from_concentration
from isocenter.named_options import resolve_names
from isocenter.volume import Series

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
TIMES = 2.0 * np.arange(150)
ARRIVAL, HEMATOCRIT, RELAXIVITY, BLOOD_T1 = 31.0, 0.4, 4.5, 1.6
SEQUENCE = {"FlipAngle": 20.0, "RepetitionTimeExcitation": 0.005}
SHAPE = (8, 6, 3)
TRUTH = {"Ktrans": 0.15, "ve": 0.3, "vp": 0.04}
POPULATION = resolve_names({"arterial_input": "parker"})["arterial_input"]


def write_dynamic(folder, *, is_signal, is_input_in_sidecar=False, **change):
    """A block of tissue with an artery in one column; returns the series, the T1 map and the region of the artery."""
    blood = predict_population(TIMES, POPULATION["constants"], hematocrit=0.0, arrival=ARRIVAL)
    plasma = blood / (1 - HEMATOCRIT)
    bound = models.get("extended_tofts").bind({"FrameTimesStart": TIMES, "ArterialInputFunction": plasma})
    tissue = np.broadcast_to(bound.predict(TRUTH), (*SHAPE, TIMES.size)).copy()
    t1 = np.random.default_rng(5).uniform(0.9, 1.6, SHAPE)
    artery = np.zeros(SHAPE, bool)
    artery[0, 2:4] = True
    tissue[artery], t1[artery] = blood, BLOOD_T1
    data, sidecar = tissue, {"FrameTimesStart": TIMES, "Units": "mM"}
    if is_signal:
        data = signal_from_concentration(
            tissue, t1=t1, relaxivity=RELAXIVITY, repetition_time=0.005, flip_angle=20.0, m0=5000.0
        )
        sidecar = {"FrameTimesStart": TIMES, **SEQUENCE}
    if is_input_in_sidecar:
        sidecar["ArterialInputFunction"] = plasma
    paths = [folder / f"sub-1_{name}.nii.gz" for name in ("DCE", "T1map", "artery")]
    sidecar = {key: value for key, value in {**sidecar, **change}.items() if value is not None}
    write_image(paths[0], data.astype(np.float32), AFFINE, sidecar)
    write_image(paths[1], t1.astype(np.float32), AFFINE, {"Units": "s"})
    write_image(paths[2], artery.astype(np.float32), AFFINE)
    return *paths, artery


def check(folder, artery, tolerance):
    for name, suffix in (("Ktrans", "Ktransmap"), ("ve", "vemap"), ("vp", "vpmap")):
        stem = folder / "maps" / "sub-1_"
        found, sidecar = read_map(*(f"{stem}{part}{suffix}.nii.gz" for part in ("", "desc-stderr_", "desc-flag_")))
        tissue = found.value[~artery]
        np.testing.assert_allclose(tissue, TRUTH[name], rtol=tolerance, err_msg=name)
    return sidecar


def test_signal_with_a_map_of_t1_and_an_artery(tmp_path):
    series, t1, region, artery = write_dynamic(tmp_path, is_signal=True)
    options = {"relaxivity": RELAXIVITY, "baseline": 12, "hematocrit": HEMATOCRIT}
    fit_files("extended_tofts", [series], tmp_path / "maps", t1=t1, aif=region, mask=ALL_VOXELS, options=options)
    sidecar = check(tmp_path, artery, 2e-3)
    # What a reader must know to judge the number, beside it.
    stated = sidecar["Options"]
    assert stated["relaxivity"] == RELAXIVITY
    assert stated["hematocrit"] == HEMATOCRIT
    assert stated["baseline"] == 12
    assert (stated["t1"], stated["arterial_input"]) == ("sub-1_T1map.nii.gz", "sub-1_artery.nii.gz")


def test_concentration_with_a_table(tmp_path):
    series, _, _, artery = write_dynamic(tmp_path, is_signal=False)
    table = tmp_path / "aif.tsv"
    fine = np.arange(0, 300, 0.5)
    blood = predict_population(fine, POPULATION["constants"], hematocrit=0.0, arrival=ARRIVAL)
    rows = "".join(f"{t:g}\t{c:.9g}\n" for t, c in zip(fine, blood, strict=True))
    table.write_text("time\tconcentration\n" + rows, encoding="utf-8")
    options = {"hematocrit": HEMATOCRIT}
    fit_files("extended_tofts", [series], tmp_path / "maps", aif=table, mask=ALL_VOXELS, options=options)
    # The truth was made with an input of one sample a frame.
    check(tmp_path, artery, 0.05)


def test_concentration_with_a_population(tmp_path):
    series, _, _, artery = write_dynamic(tmp_path, is_signal=False, is_input_in_sidecar=False)
    options = {"arterial_input": "parker", "arrival": ARRIVAL, "hematocrit": HEMATOCRIT}
    fit_files("extended_tofts", [series], tmp_path / "maps", mask=ALL_VOXELS, options=options)
    sidecar = check(tmp_path, artery, 0.05)
    assert "Parker" in sidecar["Options"]["arterial_input"]["source"]


def test_one_t1_for_all_and_the_input_of_the_sidecar(tmp_path):
    series, _, _, _ = write_dynamic(tmp_path, is_signal=True, is_input_in_sidecar=True)
    options = {"relaxivity": RELAXIVITY, "baseline": [2, 12], "t1": 1.25}
    outcome = fit_files("extended_tofts", [series], tmp_path / "maps", mask=ALL_VOXELS, options=options)
    # T1 is 0.9 to 1.6 in truth: the concentration is as wrong as T1.
    assert outcome.parameters[0].median == pytest.approx(TRUTH["Ktrans"], rel=0.1)
    assert outcome.parameters[0].high > 1.1 * TRUTH["Ktrans"]


def test_the_foreground_is_that_of_the_images(tmp_path):
    series, _, _, _ = write_dynamic(tmp_path, is_signal=True, is_input_in_sidecar=True)
    options = {"relaxivity": RELAXIVITY, "baseline": 12, "t1": 1.25}
    data = np.pad(read_parts([series]).data, [(6, 6), (6, 6), (0, 0), (0, 0)])
    data += np.abs(np.random.default_rng(3).normal(0, 2, data.shape))
    acquired = Series(data, AFFINE, read_sidecar(series) | {"FrameTimesStart": TIMES})
    _, found = fit_series(acquired, "extended_tofts", options, 1)
    inside = np.zeros(data.shape[:3], bool)
    inside[6:-6, 6:-6] = True
    assert (found.flag[~inside] == 1).mean() > 0.95
    assert (found.flag[inside] != 1).mean() > 0.95


SIGNAL = {"relaxivity": RELAXIVITY, "baseline": 12, "hematocrit": HEMATOCRIT, "t1": 1.2}


@pytest.mark.parametrize(
    ("options", "change", "has_region", "error", "match"),
    [
        ({"hematocrit": 0.4}, {}, True, SidecarError, "signal or concentration"),
        ({**SIGNAL, "t1": None}, {}, False, SidecarError, "T1 before"),
        ({**SIGNAL, "baseline": None}, {}, True, ConfigError, "baseline"),
        ({**SIGNAL, "baseline": 150}, {}, True, ConfigError, "baseline"),
        ({**SIGNAL, "baseline": "early"}, {}, True, ConfigError, "baseline"),
        ({**SIGNAL, "hematocrit": None}, {}, True, ConfigError, "hematocrit"),
        (SIGNAL, {}, True, ConfigError, "T1 of blood"),
        ({**SIGNAL, "t1_blood": 1.6, "arterial_input": "parker"}, {}, True, ConfigError, "two arterial inputs"),
        ({**SIGNAL, "arterial_input": "parker"}, {}, False, ConfigError, "arrives"),
        ({**SIGNAL, "arterial_input": "nobody", "arrival": 30}, {}, False, ConfigError, "nobody"),
        ({**SIGNAL, "relaxivity": -1}, {}, False, ConfigError, "relaxivity"),
        (SIGNAL, {}, False, SidecarError, "ArterialInputFunction"),
        (SIGNAL, {"FlipAngle": None}, False, SidecarError, "FlipAngle"),
        (SIGNAL, {"RepetitionTimeExcitation": 3.0}, False, SidecarError, "RepetitionTimeExcitation"),
        (SIGNAL, {"Units": "mM"}, False, ConfigError, "concentration already"),
    ],
)
def test_what_is_missing_is_named(tmp_path, options, change, has_region, error, match):
    series, _, region, _ = write_dynamic(tmp_path, is_signal=True, **change)
    with pytest.raises(error, match=match):
        fit_files(
            "extended_tofts", [series], tmp_path / "maps", aif=region if has_region else None, mask=ALL_VOXELS,
            options=options,
        )  # fmt: skip


def test_an_input_for_a_model_without_one(tmp_path):
    series, _, region, _ = write_dynamic(tmp_path, is_signal=True)
    with pytest.raises(ConfigError, match="no arterial input"):
        fit_files("t2_multi_echo", [series], tmp_path / "maps", aif=region)


def test_bind_refuses_signal():
    """The core fit takes concentrations: relaxivity would be a word without effect there."""
    model = models.get("tofts")
    with pytest.raises(ConfigError, match="relaxivity"):
        model.bind(model.example, relaxivity=4.5)
    assert model.bind({**model.example, "Units": "mM"}, relaxivity=4.5).n == 150


def test_a_name_stands_for_a_block_of_config(tmp_path):
    found = resolve_names({"spectrum": "six_peak", "temperature": 20.0}, tmp_path)
    assert found["spectrum"]["ppm"][1] == -3.40
    bound = models.get("pdff_magnitude").bind(models.get("pdff_magnitude").example, **found)
    assert bound.n == 6
    (tmp_path / "config").mkdir()
    block = {"own": {"title": "One", "ppm": [-3.3], "amplitude": [1.0], "source": "none"}}
    (tmp_path / "config/spectra.yaml").write_text(yaml.safe_dump(block), encoding="utf-8")
    assert resolve_names({"spectrum": "own"}, tmp_path)["spectrum"]["ppm"] == [-3.3]
    with pytest.raises(IsocenterError, match="six_peak"):
        resolve_names({"spectrum": "six_peak"}, tmp_path)
