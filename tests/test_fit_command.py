"""``isocenter fit``: one BIDS series in, maps with their history out, and one line for each mistake."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from isocenter import __version__, models
from isocenter.entities import Flag
from isocenter.errors import ConfigError, FitError, IsocenterError, SidecarError
from isocenter.fit_command import ALL_VOXELS, fit_files, map_suffix, read_options
from isocenter.fitting import maps
from isocenter.io.nifti import read_map, read_sidecar, sidecar_path, write_image
from isocenter.io.series import output_prefix

DATA = Path(__file__).parents[1] / "../shared/data/multi_echo_gre"
ISOCENTER = Path(sys.executable).with_name("isocenter")
TE = 0.01 * np.arange(1, 9)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def call(*arguments, **options):
    return subprocess.run([str(ISOCENTER), *map(str, arguments)], capture_output=True, text=True, **options)


def write_echoes(folder, *, split=True, **change):
    """A block of tissue in air by spin echoes, one file per echo or one 4D file; returns the files and the true T2."""
    rng = np.random.default_rng(7)
    truth = np.full((10, 12, 4), np.nan)
    truth[2:8, 2:10] = rng.uniform(0.04, 0.12, (6, 8, 4))
    signal = np.nan_to_num(models.get("t2_multi_echo").bind({"EchoTime": TE}).predict({"T2": truth, "S0": 900.0}))
    noisy = np.hypot(signal + rng.normal(0, 6, signal.shape), rng.normal(0, 6, signal.shape)).astype(np.float32)
    common = {"MagneticFieldStrength": 3, "Manufacturer": "ACME", **change}
    if not split:
        path = folder / "sub-x_ses-02_desc-aligned_MESE.nii.gz"
        write_image(path, noisy, AFFINE, {"EchoTime": TE, **common})
        return [path], truth
    paths = []
    for i, te in enumerate(TE):
        paths.append(folder / f"sub-x_ses-02_echo-{i + 1}_MESE.nii.gz")
        write_image(paths[-1], noisy[..., i], AFFINE, {"EchoTime": te, **common})
    return paths, truth


def test_a_value_that_a_sidecar_lacks_is_asked_for_there(tmp_path):
    path = tmp_path / "liver.nii.gz"
    write_image(path, np.ones((4, 4, 1, 5), np.float32), AFFINE, {"FlipAngle": [2.0, 10.0, 15.0, 20.0, 25.0]})
    with pytest.raises(SidecarError) as told:
        fit_files("t1_variable_flip_angle", [path], tmp_path / "maps")
    assert "needs RepetitionTimeExcitation" in str(told.value)
    assert f"where: {tmp_path / 'liver.json'}" in str(told.value)
    assert "what to do: write it there as the scanner's protocol says" in str(told.value)


@pytest.mark.parametrize("split", [True, False])
def test_a_series_becomes_maps_with_their_history(tmp_path, split):
    series, truth = write_echoes(tmp_path, split=split)
    out = tmp_path / "maps"
    outcome = fit_files("t2_multi_echo", series, out)
    start = "sub-x_ses-02_"
    assert {path.name for path in outcome.files} == {
        *(
            f"{start}{desc}{suffix}.nii.gz"
            for desc in ("", "desc-stderr_", "desc-flag_")
            for suffix in ("T2map", "S0map")
        ),
        f"{start}desc-residual_T2map.nii.gz",
        f"{start}T2map.png",
    }
    assert all(path.is_file() for path in outcome.files)
    found, sidecar = read_map(*(out / f"{start}{desc}T2map.nii.gz" for desc in ("", "desc-stderr_", "desc-flag_")))
    tissue = np.isfinite(truth)
    assert found.ok[tissue].all()
    assert np.abs(np.median(found.value[tissue] / truth[tissue]) - 1) < 0.01
    np.testing.assert_allclose(found.affine, AFFINE)
    assert sidecar["Model"] == "t2_multi_echo"
    assert sidecar["Units"] == "s"
    assert sidecar["Sources"] == [path.name for path in series]
    assert sidecar["EstimationReference"].startswith("https://doi.org/")
    assert sidecar["GeneratedBy"][0]["Version"] == __version__
    assert sidecar["MagneticFieldStrength"] == 3
    assert sidecar["Options"]["mask"] == "foreground"
    np.testing.assert_allclose(sidecar["EchoTime"], TE)
    levels = read_sidecar(out / f"{start}desc-flag_T2map.nii.gz")["Levels"]
    assert levels == {str(int(flag)): flag.name.lower() for flag in Flag}
    residual = nib.load(out / f"{start}desc-residual_T2map.nii.gz").get_fdata()
    assert np.nanmedian(residual[tissue]) == pytest.approx(6, rel=0.2)


def test_the_summary_counts_every_voxel(tmp_path):
    series, truth = write_echoes(tmp_path)
    outcome = fit_files("t2_multi_echo", series, tmp_path / "maps", mask=ALL_VOXELS)
    assert sum(outcome.flags.values()) == truth.size
    assert outcome.flags["masked"] == 0
    inside = fit_files("t2_multi_echo", series, tmp_path / "maps").parameters[0]
    assert (inside.name, inside.unit) == ("T2", "s")
    assert 0.04 < inside.low < inside.median < inside.high < 0.13
    assert 0 < inside.stderr < inside.median


def test_the_picture_is_one(tmp_path):
    series, _ = write_echoes(tmp_path)
    content = fit_files("t2_multi_echo", series, tmp_path / "maps", robust="tukey").files[-1].read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
    assert width > 600
    assert height > 600
    again = fit_files("t2_multi_echo", series, tmp_path / "again", robust="tukey").files[-1].read_bytes()
    assert content == again


def test_a_robust_fit_maps_its_outliers(tmp_path):
    [series], _ = write_echoes(tmp_path, split=False)
    image = nib.load(series)
    data = np.asarray(image.dataobj).copy()
    data[4, 5, :, 5] *= 3
    write_image(series, data, image.affine)
    outcome = fit_files("t2_multi_echo", [series], tmp_path / "maps", robust="tukey")
    outliers = nib.load(tmp_path / "maps" / "sub-x_ses-02_desc-outliers_T2map.nii.gz").get_fdata()
    assert (outliers[4, 5] >= 1 / 8).all()
    assert 0 < outcome.outlier_share < 0.05
    assert read_sidecar(tmp_path / "maps" / "sub-x_ses-02_T2map.nii.gz")["Options"]["robust"] == "tukey"


def test_slabs_give_the_same_maps_to_the_bit(tmp_path, monkeypatch):
    series, truth = write_echoes(tmp_path)
    t1 = np.linspace(0.5, 2.0, truth.size).reshape(truth.shape).astype(np.float32)
    write_image(tmp_path / "t1.nii.gz", t1, AFFINE, {"Units": "s"})
    done, found = [], []
    for samples in (10**9, 1):
        monkeypatch.setattr(maps, "_SLAB_SAMPLES", samples)
        out = tmp_path / str(samples)
        fit_files(
            "t2_extended_phase_graph",
            series,
            out,
            t1=tmp_path / "t1.nii.gz",
            on_progress=lambda k, n: done.append((k, n)),
        )
        found.append(nib.load(out / "sub-x_ses-02_T2map.nii.gz").get_fdata())
    np.testing.assert_array_equal(*found)
    assert done == [(4, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert read_sidecar(out / "sub-x_ses-02_T2map.nii.gz")["Options"]["t1"] == "t1.nii.gz"


def test_a_mask_is_kept_to(tmp_path):
    series, truth = write_echoes(tmp_path)
    mask = np.zeros(truth.shape, np.uint8)
    mask[3:5, 3:5, 1] = 1
    write_image(tmp_path / "mask.nii.gz", mask, AFFINE)
    outcome = fit_files("t2_multi_echo", series, tmp_path / "maps", mask=tmp_path / "mask.nii.gz")
    assert outcome.flags["ok"] == 4
    assert outcome.flags["masked"] == truth.size - 4


def test_the_gradient_echo_of_a_brain_gives_plausible_t2star(tmp_path):
    if not (DATA / "Mag.nii.gz").exists():
        pytest.skip(f"the real data are not here: {DATA}")
    series = tmp_path / "sub-1_MEGRE.nii.gz"
    series.symlink_to((DATA / "Mag.nii.gz").resolve())
    sidecar_path(series).write_text(json.dumps({"EchoTime": [0.004, 0.008, 0.012]}))
    ended = call("fit", "t2star_multi_echo", series, "--out", tmp_path / "maps", "--mask", "all", "--threads", 1)
    assert ended.returncode == 0, ended.stderr
    assert "T2star" in ended.stdout
    assert "ok" in ended.stdout
    value, rate = (nib.load(tmp_path / "maps" / f"sub-1_{name}map.nii.gz").get_fdata() for name in ("T2star", "R2star"))
    ok = np.isfinite(value)
    assert ok.mean() > 0.9
    np.testing.assert_allclose(value[ok] * rate[ok], 1, rtol=1e-5)
    # Cortex and white matter lie between 20 and 70 ms at 3 T and above, veins below, fluid far above.
    assert 0.02 < np.median(value[ok]) < 0.07
    # Where the last echo is the brighter one, no decay was seen: such voxels must not hold a short T2*.
    data = nib.load(series).get_fdata()
    rising = ok & (data[..., 2] >= data[..., 0])
    assert not np.any(value[rising] < 0.1)


def scale_b1(folder, factor, unit=None):
    path = folder / "b1.nii.gz"
    write_image(path, np.full((10, 12, 4), factor, np.float32), AFFINE, {"Units": unit} if unit else {})
    return path


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"model": "t2_by_magic"}, ConfigError, "t2_multi_echo"),
        ({"options": {"wisdom": 1}}, ConfigError, "no option wisdom"),
        ({"robust": "sometimes"}, FitError, "tukey"),
        ({"noise": "pink"}, FitError, "rician"),
        ({"sigma": -1.0}, ConfigError, "--sigma"),
        ({"series": []}, ConfigError, "no series"),
        ({"series": [Path("nowhere.nii.gz")]}, ConfigError, "missing"),
        ({"mask": "other_grid"}, ConfigError, "another grid"),
        ({"mask": "empty"}, ConfigError, "empty"),
        ({"b1": "here"}, ConfigError, "uses no map of B1"),
        ({"out": "file"}, ConfigError, "not a folder"),
        ({"model": "t1_inversion_recovery"}, SidecarError, "InversionTime"),
        ({"series": "short"}, FitError, "Too few samples"),
        ({"series": "damaged"}, ConfigError, "damaged"),
        ({"series": "no_image"}, ConfigError, "cannot be read"),
        ({"series": "mixed"}, SidecarError, "geometry"),
        ({"series": "no_sidecar"}, SidecarError, "sidecar is missing"),
        ({"series": "zeros"}, FitError, "No voxel"),
    ],
)
def test_each_mistake_has_its_error(tmp_path, change, error, match):
    series, truth = write_echoes(tmp_path)
    kind = change.get("series")
    if isinstance(kind, list):
        series = kind
    elif kind == "short":
        series = series[:2]
    elif kind == "damaged":
        series[3].write_bytes(series[3].read_bytes()[:900])
    elif kind == "no_image":
        series[0].write_text("no image")
    elif kind == "mixed":
        write_image(series[1], np.zeros((3, 3, 3), np.float32), AFFINE)
    elif kind == "no_sidecar":
        sidecar_path(series[2]).unlink()
    elif kind == "zeros":
        for path in series:
            write_image(path, np.zeros(truth.shape, np.float32), AFFINE)
    given = {name: change[name] for name in ("robust", "noise", "sigma", "options") if name in change}
    if "mask" in change:
        shape = (3, 3, 3) if change["mask"] == "other_grid" else truth.shape
        given["mask"] = tmp_path / "mask.nii.gz"
        write_image(given["mask"], np.zeros(shape, np.uint8), AFFINE)
    if "b1" in change:
        given["b1"] = scale_b1(tmp_path, 1.0)
    out = tmp_path / "maps"
    if "out" in change:
        out.write_text("")
    with pytest.raises(error, match=match):
        fit_files(change.get("model", "t2_multi_echo"), series, out, **given)
    assert not list(out.glob("*")) if out.is_dir() else True


@pytest.mark.parametrize(("factor", "unit"), [(1.0, "1"), (100.0, "percent")])
def test_a_b1_map_corrects_flip_angles(tmp_path, factor, unit):
    angles, shape = [3.0, 8.0, 15.0, 25.0], (6, 5, 3)
    scale = np.linspace(0.8, 1.2, np.prod(shape)).reshape(shape)
    signal = np.stack([np.full(shape, np.nan)] * len(angles), axis=-1)
    exponential = np.exp(-0.015 / 1.1)
    for i, angle in enumerate(np.deg2rad(angles)):
        signal[..., i] = 5000 * np.sin(scale * angle) * (1 - exponential) / (1 - exponential * np.cos(scale * angle))
    series = tmp_path / "sub-1_VFA.nii.gz"
    write_image(series, signal.astype(np.float32), AFFINE, {"FlipAngle": angles, "RepetitionTimeExcitation": 0.015})
    write_image(tmp_path / "b1.nii.gz", (factor * scale).astype(np.float32), AFFINE, {"Units": unit})
    fit_files("t1_variable_flip_angle", [series], tmp_path / "maps", mask=ALL_VOXELS, b1=tmp_path / "b1.nii.gz")
    t1 = nib.load(tmp_path / "maps" / "sub-1_T1map.nii.gz").get_fdata()
    np.testing.assert_allclose(t1, 1.1, rtol=1e-4)
    sidecar = (tmp_path / "maps" / "sub-1_T1map.json").read_text()
    assert "b1.nii.gz" in sidecar
    assert len(sidecar) < 3000


def test_percent_that_nobody_declared_is_refused(tmp_path):
    series, _ = write_echoes(tmp_path)
    sidecar = {"FlipAngle": 10.0, "RepetitionTimeExcitation": 0.01}
    for i, path in enumerate(series):
        sidecar_path(path).write_text(json.dumps({**sidecar, "FlipAngle": 2.0 + 3 * i}))
    with pytest.raises(SidecarError, match="percent"):
        fit_files("t1_variable_flip_angle", series, tmp_path / "maps", b1=scale_b1(tmp_path, 100.0))


def test_a_map_in_another_unit_than_it_says_is_refused(tmp_path):
    series, _ = write_echoes(tmp_path)
    write_image(tmp_path / "t1.nii.gz", np.full((10, 12, 4), 900.0, np.float32), AFFINE, {"Units": "s"})
    with pytest.raises(SidecarError, match="found: 900"):
        fit_files("t2_extended_phase_graph", series, tmp_path / "maps", t1=tmp_path / "t1.nii.gz")


def test_the_command_answers_in_one_line_with_exit_2(tmp_path):
    for arguments in (
        ("fit", "t2_by_magic", tmp_path / "x.nii.gz", "--out", tmp_path / "maps"),
        ("fit", "t2_multi_echo", tmp_path / "x.nii.gz", "--out", tmp_path / "maps"),
        ("fit", "t2_multi_echo", tmp_path / "x.nii.gz"),
        ("fit", "t2_multi_echo", "x.nii.gz", "--out", tmp_path / "maps", "--option", "offset"),
    ):
        ended = call(*arguments)
        assert ended.returncode == 2
        assert "Traceback" not in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


def test_the_list_names_every_model_with_what_it_needs():
    ended = call("fit", "--list")
    assert ended.returncode == 0
    for name in models.names():
        assert name in ended.stdout
        assert all(key in ended.stdout for key in models.get(name).needs)


def test_options_are_typed_as_in_yaml():
    found = read_options(["offset=true", "b_min=200", "spectrum=liver", "window=null", "angles=[1, 2.5]", "tol=1e-3"])
    assert found == {
        "offset": True, "b_min": 200, "spectrum": "liver", "window": None, "angles": [1, 2.5], "tol": 0.001,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="key=value"):
        read_options(["offset"])
    with pytest.raises(IsocenterError):
        read_options(["angles=[1, 2"])


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["sub-1_ses-a_inv-1_IRT1.nii.gz", "sub-1_ses-a_inv-2_IRT1.nii.gz"], "sub-1_ses-a"),
        (["sub-1_echo-1_part-mag_MEGRE.nii.gz", "sub-1_echo-1_part-phase_MEGRE.nii"], "sub-1_echo-1"),
        (["sub-1_run-1_desc-aligned_MESE.nii.gz"], "sub-1_run-1"),
        (["Mag.nii.gz"], "Mag"),
        (["my scan_01.nii", "my scan_02.nii"], "my-scan"),
    ],
)
def test_what_the_names_of_the_maps_begin_with(names, prefix):
    assert output_prefix(names) == prefix


@pytest.mark.parametrize(
    ("parameter", "suffix"),
    [
        ("T2star", "T2starmap"),
        ("B1", "TB1map"),
        ("PDFF", "PDFFmap"),
        ("inversion_efficiency", "inversionEfficiencymap"),
    ],
)
def test_suffixes(parameter, suffix):
    assert map_suffix(parameter) == suffix


@pytest.mark.parametrize("name", models.names())
def test_every_model_works_from_its_own_example(tmp_path, name):
    model = models.get(name)
    bound = model.bind(model.example)
    signal = np.broadcast_to(bound.predict(model.typical), (5, 4, 3, bound.n))
    sidecar = {key: np.asarray(value) for key, value in model.example.items()}
    if np.iscomplexobj(signal):
        series = [tmp_path / f"sub-1_part-{part}_MEGRE.nii.gz" for part in ("mag", "phase")]
        parts = (np.abs(signal), np.angle(signal))
    else:
        series, parts = [tmp_path / "sub-1_series.nii.gz"], (signal,)
    for path, part in zip(series, parts, strict=True):
        write_image(path, part.astype(np.float32), AFFINE, sidecar)
    outcome = fit_files(name, series, tmp_path / "maps", mask=ALL_VOXELS)
    found = {row.name: row for row in outcome.parameters}
    for parameter, value in model.typical.items():
        # Images are single precision.
        assert found[parameter].median == pytest.approx(value, rel=2e-3, abs=1e-3 * abs(value)), parameter
    assert all(read_sidecar(tmp_path / "maps" / f"sub-1_{map_suffix(row)}.nii.gz")["Units"] for row in found)


def test_r2_prime_where_t2_and_t2star_both_exist(tmp_path):
    rng = np.random.default_rng(2)
    sets = {
        "t2_multi_echo": ("MESE", {"T2": 0.08, "S0": 900.0}),
        "t2star_multi_echo": ("MEGRE", {"T2star": 0.05, "S0": 900.0}),
    }
    series = {}
    for model, (suffix, truth) in sets.items():
        signal = np.broadcast_to(models.get(model).bind({"EchoTime": TE}).predict(truth), (20, 20, 5, TE.size))
        series[model] = tmp_path / f"sub-1_{suffix}.nii.gz"
        noisy = (signal + rng.normal(0, 9, signal.shape)).astype(np.float32)
        write_image(series[model], noisy, AFFINE, {"EchoTime": TE})
    out = tmp_path / "maps"
    fit_files("t2_multi_echo", [series["t2_multi_echo"]], out, mask=ALL_VOXELS, sigma=9.0)
    second = out / "sub-1_T2map.nii.gz"
    star = [series["t2star_multi_echo"]]
    outcome = fit_files("t2star_multi_echo", star, out, mask=ALL_VOXELS, sigma=9.0, t2=second)
    prime, sidecar = read_map(*(out / f"sub-1_{desc}R2primemap.nii.gz" for desc in ("", "desc-stderr_", "desc-flag_")))
    truth = 1 / 0.05 - 1 / 0.08
    assert prime.ok.all()
    assert outcome.parameters[-1].median == pytest.approx(truth, rel=0.01)
    # The noise is known, so errors are normal: 95 % of 2000 voxels, and four standard errors of that each way.
    inside = np.abs(prime.value - truth) < 1.96 * prime.stderr
    assert 0.93 < inside.mean() < 0.97
    assert (sidecar["Units"], sidecar["T2"]) == ("1/s", "sub-1_T2map.nii.gz")
    with pytest.raises(ConfigError, match="gives no R2"):
        fit_files("t2_multi_echo", [series["t2_multi_echo"]], out, t2=second)
    (out / "sub-1_desc-stderr_T2map.nii.gz").unlink()
    with pytest.raises(ConfigError, match="standard error"):
        fit_files("t2star_multi_echo", [series["t2star_multi_echo"]], out, t2=second)
