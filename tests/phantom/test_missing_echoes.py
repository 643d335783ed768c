"""The real echo train with every second echo missing, as they would be after a transfer that lost them."""

from isocenter.phantom.whole_session import Acquired, Conditions, measure_session
from isocenter.volume import Series

#: Vials of the T2 array whose signal stands between saturation and the background.
MEASURED = [2, 3, 4, 6, 7, 8, 9, 10]


def test_numbers_of_echoes_keep_the_real_vials_right(nist, real_session):
    """By the echo times alone the train is one of 20 ms, and vials 2 to 4 and 6 to 9 read 12 to 27 % high and count."""
    (series,) = (found.series for found in real_session.acquisitions if found.suffix == "MESE")
    acquisition = {key: series.acquisition[key][1::2] for key in ("EchoTime", "EchoNumber")}
    part = Series(
        series.data[..., 1::2], series.affine, {**series.acquisition, **acquisition}, series.saturation[1::2]
    )  # fmt: skip
    conditions = Conditions("130-0093", 20.0, 0.5, real_session.field_strength, real_session.date)
    result = measure_session(nist, conditions, [Acquired("MESE", 1, part)])
    table = result.table[(result.table["biomarker"] == "T2") & result.table["primary"]].set_index("vial").loc[MEASURED]
    assert table["used"].all()
    assert table["bias_percent"].abs().max() <= 8.0
    assert table["bias_percent"].abs().mean() <= 4.0
