"""Maps of public real data as pictures for docs/validation.md: ``python docs/draw_pictures.py DATA [--out DIR]``.

DATA is the folder of public data that the tests use. Every map is made by ``isocenter fit`` as a user would: series
with their sidecars in, maps and a first look out. What a source does not say (a repetition time) is stated in CASES.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import dcm2niix
import nibabel as nib
import numpy as np
from PIL import Image

from isocenter.fit_command import ALL_VOXELS, fit_files

#: The liver's series comes without TR; T1 scales with it (tests/fitting/test_motion_series_maps.py).
ASSUMED_TR = 0.004


def prepare_gradient_echo(data: Path, folder: Path) -> list[Path]:
    """Magnitude and phase of three echoes (4, 8, 12 ms); the phase is stored over one whole turn."""
    paths = []
    for part, name in (("mag", "Mag"), ("phase", "Phase")):
        image = nib.load(data / "multi_echo_gre" / f"{name}.nii.gz")
        values = np.asarray(image.dataobj, dtype=np.float32)
        if part == "phase":
            values *= np.float32(np.pi / np.abs(values).max())
        path = folder / f"sub-1_part-{part}_MEGRE.nii.gz"
        nib.save(nib.Nifti1Image(values, image.affine), path)
        units = {"Units": "rad"} if part == "phase" else {}
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(
            json.dumps({"EchoTime": [0.004, 0.008, 0.012], **units})
        )
        paths.append(path)
    return paths


def prepare_field_map(data: Path, folder: Path) -> list[Path]:
    """The phase difference of a dual-echo field map, converted from the vendor's DICOM by dcm2niix."""
    with tarfile.open(data / "field_map" / "siemens_gre_field_dicom.tar.gz") as archive:
        archive.extractall(folder / "dicom", filter="data")
    command = [dcm2niix.bin, "-b", "y", "-z", "y", "-f", "%s_%e", "-o", str(folder), str(folder / "dicom")]
    subprocess.run(command, check=True, capture_output=True)
    found = {path: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    phase = next(path for path, sidecar in found.items() if "PHASE" in sidecar["ImageType"])
    times = sorted({sidecar["EchoTime"] for sidecar in found.values()})
    sidecar = {**found[phase], "EchoTime1": times[0], "EchoTime2": times[-1]}
    sidecar.pop("EchoTime")
    path = folder / "sub-1_phasediff.nii.gz"
    shutil.move(phase.with_suffix(".nii.gz"), path)
    path.with_name("sub-1_phasediff.json").write_text(json.dumps(sidecar))
    # Where there is signal, from the magnitude of the first echo.
    magnitude = next(path for path, s in found.items() if "M" in s["ImageType"] and s["EchoTime"] == times[0])
    image = nib.load(magnitude.with_suffix(".nii.gz"))
    values = np.asarray(image.dataobj, dtype=float)
    mask = (values > 0.15 * np.percentile(values, 99)).astype(np.uint8)
    nib.save(nib.Nifti1Image(mask, image.affine), folder / "mask.nii.gz")
    return [path]


def prepare_motion_series(data: Path, folder: Path, name: str, more: dict) -> list[Path]:
    """A 4D series of a breathing abdomen; magnitudes that overflowed 16 bits came out negative and are left out."""
    image = nib.load(data / "motion_series" / f"{name}.nii.gz")
    values = np.asarray(image.dataobj, dtype=np.float32)
    values[values < 0] = np.nan
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(values, image.affine), path)
    sidecar = json.loads((data / "motion_series" / f"{name}.json").read_text())
    (folder / f"{name}.json").write_text(json.dumps({**sidecar, **more}))
    return [path]


#: Picture: how its series is prepared, the model, and which of its files are given; mask where there is no air.
CASES = {
    "brain_t2star": (prepare_gradient_echo, "t2star_multi_echo", slice(0, 1), ALL_VOXELS, {}),
    "brain_b0": (prepare_gradient_echo, "b0_dual_echo", slice(0, 2), ALL_VOXELS, {}),
    "field_map_b0": (prepare_field_map, "b0_dual_echo", slice(0, 1), "mask.nii.gz", {}),
    "kidney_molli_t1": (
        lambda data, folder: prepare_motion_series(data, folder, "molli_kidney", {}),
        "t1_look_locker", slice(0, 1), None, {},
    ),
    "liver_vfa_t1": (
        lambda data, folder: prepare_motion_series(
            data, folder, "vfa_liver", {"RepetitionTimeExcitation": ASSUMED_TR}
        ),
        "t1_variable_flip_angle", slice(0, 1), None, {},
    ),
}  # fmt: skip


def draw(data: Path, out: Path, names: list[str]) -> None:
    """Fit the cases and copy their first looks into `out`; prints the medians that stand in the text."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        prepare, model, given, mask, more = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            series = prepare(data, Path(folder))[given]
            chosen = Path(folder) / mask if isinstance(mask, str) else mask
            outcome = fit_files(model, series, Path(folder) / "maps", mask=chosen, threads=2, **more)
            picture = Image.open(outcome.files[-1]).convert("RGB")
            picture.thumbnail((560, 1200))
            # 64 colors are enough for a picture in a text, at a third of the size.
            picture.quantize(64).save(out / f"{name}.png", optimize=True)
        tried = sum(count for flag, count in outcome.flags.items() if flag != "masked")
        spread = "; ".join(
            f"{p.name} {p.median:.4g} [{p.low:.4g}, {p.high:.4g}] {p.unit}, standard error {p.stderr:.2g}"
            for p in outcome.parameters
        )
        print(f"{name}: {outcome.flags['ok']} of {tried} voxels; {spread}")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the folder of public data")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pictures", help="folder of the pictures")
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), default=list(CASES))
    given = parser.parse_args()
    draw(given.data, given.out, given.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
