"""Inversion recovery and echo train of a real phantom (session_a, serial 130-0093, 3 T) against its references."""

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from isocenter import fitting, models
from isocenter.fitting.foreground import find_foreground

DATA = Path(__file__).parents[2] / "../shared/data/nist_system_phantom"
REFERENCE = DATA / "reference_values/batch2_sn_gte_130-0042"
#: Pixel (column, row) of the centers of vials 1 to 14, from the geometry scan of the session.
CENTERS = {
    "T1": "128,76 158,86 176,112 176,142 159,170 128,180 97,169 80,144 77,113 97,86 107,108 147,107 148,149 107,149",
    "T2": "129,79 158,89 176,114 177,145 159,171 130,181 99,172 79,146 80,114 98,88 108,110 149,110 149,149 108,150",
}
SATURATION = 4095.0


@pytest.fixture(scope="module")
def headers():
    archive = DATA / "session_a_dicom.tar.gz"
    if not archive.exists():
        pytest.skip(f"the real data are not here: {archive}")
    pydicom = pytest.importorskip("pydicom")
    found = []
    with tarfile.open(archive) as files:
        for member in files:
            if member.isfile() and Path(member.name).name.startswith("I"):
                found.append(pydicom.dcmread(io.BytesIO(files.extractfile(member).read())))
    return found


def stack(headers, description, key):
    chosen = [h for h in headers if description in h.get("SeriesDescription", "")]
    chosen.sort(key=lambda h: float(h[key].value))
    data = np.stack([h.pixel_array for h in chosen], axis=-1).astype(float)
    return data, np.array([float(h[key].value) for h in chosen]) / 1000


def measure(values, kind):
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]]
    centers = [tuple(map(int, center.split(","))) for center in CENTERS[kind].split()]
    inside = [(columns - x) ** 2 + (rows - y) ** 2 <= 16 for x, y in centers]
    return np.array([np.nanmedian(values[disk]) for disk in inside]), inside


def read_reference(kind):
    with (REFERENCE / f"{kind}-Batch2_3T_dl-20210726.csv").open(encoding="utf-8-sig") as file:
        table = {row["Solution"]: row for row in csv.DictReader(file) if row["Temp (C)"] == "20"}
    return np.array([float(table[f"{kind}-{vial}"][f"{kind} reported (ms)"]) for vial in range(1, 15)]) / 1000


@pytest.mark.parametrize("robust", [None, "tukey"])
def test_t1_of_the_vials(headers, robust):
    signal, ti = stack(headers, "VIR", "InversionTime")
    assert signal.shape == (256, 256, 10)
    assert (signal >= SATURATION).any()
    mask = find_foreground(signal)
    bound = models.get("t1_inversion_recovery").bind({"InversionTime": ti, "RepetitionTime": 4.5})
    fit = fitting.fit(bound, signal, mask=mask, saturation=SATURATION, robust=robust)
    measured, inside = measure(fit.value["T1"], "T1")
    assert all(mask[disk].all() for disk in inside)
    assert all(fit.ok[disk].mean() > 0.8 for disk in inside)
    # The temperature was not measured (20 degC is a setting): nickel T1 hardly moves with it. 4 % is the spread that
    # careful readings of this session show.
    np.testing.assert_allclose(measured, read_reference("T1"), rtol=0.04)
    efficiency, _ = measure(fit.value["inversion_efficiency"], "T1")
    # Short vials read above 1: the inversion time of the header counts from about 10 ms before the effective one.
    assert np.all((efficiency[:6] > 0.9) & (efficiency[:6] < 1.05))


def test_clipped_samples_would_bias_the_vials(headers):
    signal, ti = stack(headers, "VIR", "InversionTime")
    bound = models.get("t1_inversion_recovery").bind({"InversionTime": ti, "RepetitionTime": 4.5})
    mask = find_foreground(signal)
    error = {}
    for saturation in (SATURATION, None):
        fit = fitting.fit(bound, signal, mask=mask, saturation=saturation)
        error[saturation] = np.abs(measure(fit.value["T1"], "T1")[0] / read_reference("T1") - 1).max()
    assert error[SATURATION] < error[None]


def test_t2_of_the_vials_reads_high_as_known(headers):
    signal, te = stack(headers, "T2", "EchoTime")
    fit = fitting.fit(
        models.get("t2_extended_phase_graph").bind({"EchoTime": te}),
        signal,
        mask=find_foreground(signal),
        saturation=SATURATION,
    )
    measured, _ = measure(fit.value["T2"], "T2")
    bias = measured / read_reference("T2") - 1
    # Ideal angles leave 10 to 30 % on this scanner; a slice profile is what cures it (a later step). Vial 5 is not
    # what its label says, vial 1 is clipped through most of the train, 12 to 14 sink into the noise floor.
    usable = np.array([2, 3, 4, 6, 7, 8, 9, 10]) - 1
    assert np.all((bias[usable] > -0.05) & (bias[usable] < 0.3))
