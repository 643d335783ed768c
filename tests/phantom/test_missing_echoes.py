"""The real echo train with every second echo missing, as they would be after a transfer that lost them."""

import tarfile

import pytest

from isocenter.dicom.session import read_session
from isocenter.phantom.whole_session import Acquired, Conditions, measure_session
from isocenter.volume import Series

#: Vials of the T2 array whose signal stands between saturation and the background.
MEASURED = [2, 3, 4, 6, 7, 8, 9, 10]


@pytest.fixture(scope="module")
def session(nist_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    with tarfile.open(nist_data / "session_a_dicom.tar.gz") as files:
        files.extractall(folder, filter="data")
    return read_session(folder, ["MESE"])


def test_numbers_of_echoes_keep_the_real_vials_right(nist, session):
    """By the echo times alone the train is one of 20 ms, and vials 2 to 4 and 6 to 9 read 12 to 27 % high and count."""
    (found,) = session.acquisitions
    series = found.series
    acquisition = {key: series.acquisition[key][1::2] for key in ("EchoTime", "EchoNumber")}
    part = Series(
        series.data[..., 1::2], series.affine, {**series.acquisition, **acquisition}, series.saturation[1::2]
    )  # fmt: skip
    conditions = Conditions("130-0093", 20.0, 0.5, session.field_strength, session.date)
    result = measure_session(nist, conditions, [Acquired("MESE", 1, part)])
    table = result.table[(result.table["biomarker"] == "T2") & result.table["primary"]].set_index("vial").loc[MEASURED]
    assert table["used"].all()
    assert table["bias_percent"].abs().max() <= 8.0
    assert table["bias_percent"].abs().mean() <= 4.0
