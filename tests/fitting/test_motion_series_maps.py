"""T1 maps of a real abdomen that breathes: MOLLI of the kidneys and variable flip angle of the liver.

Nobody measured the truth here. Regions were drawn by hand on the images; the ranges are those that the literature gives
for the tissue at 1.5 to 3 T, as wide as field, method and breathing ask for.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import SidecarError
from isocenter.fitting import fit

DATA = Path(__file__).parents[2] / "../shared/data/motion_series"
#: Boxes in the first slice of the MOLLI: columns, rows, and the T1 [s] that its tissue may have.
TISSUES = {
    "fat": (slice(50, 75), slice(160, 175), 0.2, 0.5),
    "liver": (slice(48, 62), slice(88, 104), 0.4, 0.95),
    "spleen": (slice(180, 195), slice(68, 78), 0.9, 1.4),
    "psoas": (slice(95, 105), slice(150, 190), 0.9, 1.4),
    "right kidney": (slice(70, 78), slice(105, 130), 1.0, 2.1),
    "left kidney": (slice(160, 178), slice(128, 137), 1.0, 2.1),
}
LIVER = (slice(16, 28), slice(45, 60), slice(14, 22))


def read_series(name):
    nibabel = pytest.importorskip("nibabel")
    path = DATA / f"{name}.nii.gz"
    if not path.exists():
        pytest.skip(f"the real data are not here: {path}")
    return np.asarray(nibabel.load(path).dataobj).astype(float), json.loads((DATA / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def kidney():
    data, sidecar = read_series("molli_kidney")
    # Magnitudes that overflowed 16 bits came out negative: clipped samples by another name.
    assert (data < 0).mean() < 0.002
    data[data < 0] = np.nan
    return data, sidecar, np.nanmax(np.nan_to_num(data), axis=-1) > 2500


@pytest.mark.parametrize("robust", [None, "tukey"])
def test_molli_of_the_kidneys(kidney, robust):
    data, sidecar, mask = kidney
    found = fit(models.get("t1_look_locker").bind(sidecar), data, mask=mask, robust=robust)
    assert found.ok[mask].mean() > 0.75
    assert np.nanmin(found.value["T1"]) > 0
    typical = {}
    for tissue, (columns, rows, low, high) in TISSUES.items():
        box = found.value["T1"][columns, rows, 0]
        assert np.isfinite(box).mean() > 0.85, tissue
        typical[tissue] = np.nanmedian(box)
        assert low < typical[tissue] < high, tissue
        quartiles = np.nanpercentile(box, [25, 75])
        assert quartiles[1] / quartiles[0] < 1.6, tissue
        relative = found.stderr["T1"][columns, rows, 0] / box
        assert 0.01 < np.nanmedian(relative) < 0.25, tissue
    assert typical["fat"] < typical["liver"] < typical["psoas"] < min(typical["right kidney"], typical["left kidney"])


def test_the_correction_lengthens_t1_in_muscle(kidney):
    data, sidecar, _ = kidney
    found = fit(models.get("t1_look_locker").bind(sidecar), data[95:105, 150:190, 0])
    ratio = found.value["T1"] / found.value["T1star"]
    assert 1.0 < np.nanmedian(ratio) < 1.4


def test_signs_are_searched_since_the_series_holds_magnitudes(kidney):
    """Taken as signed, the early samples of muscle contradict any recovery, and the fit says so."""
    data, sidecar, _ = kidney
    muscle = data[95:105, 150:190, 0]
    magnitude = fit(models.get("t1_look_locker").bind(sidecar), muscle)
    signed = fit(models.get("t1_look_locker").bind(sidecar, magnitude=False), muscle)
    assert magnitude.ok.mean() > 0.9
    assert signed.ok.mean() < 0.1
    assert np.nanmedian(signed.residual) > 1.5 * np.nanmedian(magnitude.residual)


def test_variable_flip_angle_of_the_liver():
    data, sidecar = read_series("vfa_liver")
    model = models.get("t1_variable_flip_angle")
    ratio = {}
    # The source does not give TR. What the angles determine is T1/TR: the same number for any TR << T1.
    for tr in (0.003, 0.004, 0.006):
        found = fit(model.bind({**sidecar, "RepetitionTimeExcitation": tr}), data[LIVER])
        assert found.ok.mean() > 0.99
        ratio[tr] = np.nanmedian(found.value["T1"]) / tr
    assert ratio[0.003] == pytest.approx(ratio[0.006], rel=0.01)
    # 0.3 s at a TR of 6 ms to 1 s at a TR of 3 ms, B1 unknown.
    assert 50 < ratio[0.004] < 330
    assert np.nanmedian(found.stderr["T1"] / found.value["T1"]) < 0.25


def test_variable_flip_angle_without_its_repetition_time_is_refused():
    _, sidecar = read_series("vfa_liver")
    with pytest.raises(SidecarError, match="RepetitionTimeExcitation"):
        models.get("t1_variable_flip_angle").bind(sidecar)


def test_the_whole_volume_has_values_where_there_is_tissue():
    data, sidecar = read_series("vfa_liver")
    bound = models.get("t1_variable_flip_angle").bind({**sidecar, "RepetitionTimeExcitation": 0.004})
    mask = data.max(axis=-1) > 60
    found = fit(bound, data, mask=mask)
    assert found.ok[mask].mean() > 0.95
    assert (found.flag[~mask] == Flag.MASKED).all()
    low, middle, high = np.nanpercentile(found.value["T1"], [5, 50, 95])
    assert 0.1 < low < middle < high < 4.0
