"""ADC of the tissues in OSIPI's table of intravoxel incoherent motion, low b-values left out.

The table (OSIPI TF2.4_IVIM-MRI_CodeCollection f91b53c, Apache-2.0) gives signals, D, f and D* per tissue and the
standard deviation of the noise that it added.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from isocenter import models
from isocenter.fitting import fit

TABLE = Path(__file__).parents[2] / "../shared/data/osipi_ivim/generic.json"
#: Perfusion is gone from here on in most tissues [s/mm2].
LEAST_B = 200.0


@pytest.fixture(scope="module")
def table():
    if not TABLE.exists():
        pytest.skip(f"the real data are not here: {TABLE}")
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    return np.array(content.pop("config")["bvalues"]), content


def fit_tissues(b, tissues, **options):
    bound = models.get("adc_monoexponential").bind({"DiffusionBValue": b}, **options)
    noise = np.array([tissue["noise"] for tissue in tissues.values()])
    return fit(bound, np.array([tissue["data"] for tissue in tissues.values()]), sigma=noise)


def perfusion_slope(tissue, b):
    """The most by which the perfusion that is left can raise a slope over b [mm2/s].

    The logarithm of the signal is that of the tissue plus log(1 + r(b)), where the ratio r of perfusion to tissue
    falls from its value at the first b towards 0. The regression of any falling curve of height h on points over
    a range L has a slope of at most 1.5 h / L (a step in the middle of evenly spread points).
    """
    ratio = tissue["f"] * np.exp(-b[0] * tissue["Dp"]) / ((1 - tissue["f"]) * np.exp(-b[0] * tissue["D"]))
    return 1.5 * np.log1p(ratio) / (b[-1] - b[0])


def test_adc_without_low_b_is_d(table):
    b, tissues = table
    found = fit_tissues(b, tissues, b_min=LEAST_B)
    assert found.ok.all()
    used = b[b >= LEAST_B]
    for i, (name, tissue) in enumerate(tissues.items()):
        excess = found.value["ADC"][i] - tissue["D"]
        # Noise of known size on both sides (four standard errors for 14 tissues), perfusion on one only.
        noise = 4 * found.stderr["ADC"][i]
        assert -noise <= excess <= noise + perfusion_slope(tissue, used), name


def test_the_allowance_for_perfusion_is_small(table):
    """Below 5 % of D everywhere, and below 0.5 % in all but the four tissues of slow perfusion (D* near 0.01)."""
    b, tissues = table
    used = b[b >= LEAST_B]
    share = np.array([perfusion_slope(t, used) / t["D"] for t in tissues.values()])
    assert share.max() < 0.05
    assert (share > 0.005).sum() <= 4


def test_adc_with_low_b_reads_perfusion_too(table):
    """Why the low b-values are left out: with them every tissue of fast perfusion reads high."""
    b, tissues = table
    every = fit_tissues(b, tissues).value["ADC"]
    assert all(adc > 1.02 * t["D"] for adc, t in zip(every, tissues.values(), strict=True) if t["f"] > 0.1)
