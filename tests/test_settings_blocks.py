"""Biomarkers as blocks of config: what one block may ask of another, of its model and of its series."""

import pytest
from written_trial import complaint, make_trial, replace

from isocenter import layout
from isocenter.settings import load_settings


@pytest.fixture
def trial(tmp_path):
    return make_trial(tmp_path)


def test_a_thigh_needs_a_model_of_water_and_fat(trial):
    replace(trial / "config/biomarkers.yaml", "  suffix: IRT1\n", "  suffix: IRT1\n  regions: thigh\n")
    text = complaint(trial)
    assert "A thigh cannot be found in the fit of T1" in text
    assert "pdff_complex" in text


def test_an_erosion_is_by_voxels_or_by_millimeters(trial):
    replace(trial / "config/biomarkers.yaml", "  suffix: IRT1\n", "  suffix: IRT1\n  erosion: { voxels: 1, mm: 2 }\n")
    assert "T1.erosion" in complaint(trial)


def test_only_a_model_whose_options_describe_pulses_lets_a_phantom_choose_them(trial):
    path = trial / "config/biomarkers.yaml"
    assert load_settings(trial).biomarkers["T2"]["pulses"] == "phantom"
    assert load_settings(trial).biomarkers["T1"]["pulses"] == "none"
    replace(path, "  model: t2_extended_phase_graph\n", "  model: t2_multi_echo\n")
    assert "A phantom cannot choose the pulses of T2" in complaint(trial)


LENDING = """
{name}:
  title: A helper
  suffix: MEGRE
  model: t2star_multi_echo
  parameter: T2star
  map: {name}map
  unit: "{unit}"
  plausible_range: [0.001, 2]
  align: none
  rois: [white_matter]
  calibration: none
  uses_maps: {uses}
"""


def add_blocks(trial, *blocks):
    """Blocks that use one another's maps, selected beside T1 and T2."""
    path = trial / "config/biomarkers.yaml"
    path.write_text(path.read_text() + "".join(LENDING.format(name=n, unit=u, uses=m) for n, u, m in blocks))
    names = ", ".join(name for name, *_ in blocks)
    replace(trial / layout.CONFIG, "[T1, T2]", f"[T1, T2, {names}]")
    replace(trial / layout.CONFIG, "brain_relaxometry.yaml", "brain_heart_thigh.yaml")
    for site in (trial / "sites").glob("*/site.yaml"):
        site.write_text(site.read_text().replace("brain_relaxometry", "brain_heart_thigh"))


def test_a_block_may_use_another_blocks_map(trial):
    add_blocks(trial, ("B1a", "1", "{}"), ("Star", "s", "{B1: B1a, T1: T1}"))
    assert load_settings(trial).biomarkers["Star"]["uses_maps"] == {"B1": "B1a", "T1": "T1"}


@pytest.mark.parametrize(
    ("uses", "words"),
    [
        ("{B1: Nobody}", "is not known"),
        ("{B1: ADC}", "is not selected"),
        ("{B1: T1}", "cannot use the map of T1 as its B1"),
        ("{B1: Star}", "in a circle"),
    ],
)
def test_a_map_that_cannot_be_lent_is_refused(trial, uses, words):
    add_blocks(trial, ("Star", "1", uses))
    assert words in complaint(trial)


def test_a_circle_of_maps_is_shown(trial):
    add_blocks(trial, ("A", "s", "{T1: B}"), ("B", "s", "{T1: C}"), ("C", "s", "{T1: A}"))
    assert "found: A -> B -> C -> A" in complaint(trial)


FIELD = """
B0:
  title: Field offset
  suffix: MEGRE
  model: b0_dual_echo
  signal: complex
  parameter: B0
  map: B0map
  unit: Hz
  plausible_range: [-1000, 1000]
  align: none
  rois: [white_matter]
  calibration: none
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("", "", ""),
        ("distortion: B0", "distortion: T1", "no selected map of B0"),
        ("distortion: B0", "distortion: Bo", "no selected map of B0"),
        ("align: none # trace", "align: deformable # trace", "aligned in any way but deformable"),
        ("  suffix: dwi", "  suffix: MESE", "magnitudes of echo-planar series"),
    ],
)
def test_only_echo_planar_series_are_corrected_by_a_map_of_b0(trial, old, new, words):
    path = trial / "config/biomarkers.yaml"
    path.write_text(path.read_text() + FIELD)
    replace(path, "  model: adc_monoexponential\n", "  model: adc_monoexponential\n  distortion: B0\n")
    replace(trial / layout.CONFIG, "[T1, T2]", "[T1, T2, ADC, B0]")
    replace(trial / layout.CONFIG, "brain_relaxometry.yaml", "brain_heart_thigh.yaml")
    for site in (trial / "sites").glob("*/site.yaml"):
        site.write_text(site.read_text().replace("brain_relaxometry", "brain_heart_thigh"))
    if old:
        replace(path, old, new)
        assert words in complaint(trial)
    else:
        blocks = load_settings(trial).biomarkers
        assert (blocks["ADC"]["distortion"], blocks["T1"]["distortion"]) == ("B0", "none")
