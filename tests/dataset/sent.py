"""A qMRI-BIDS dataset as a site may send it: images with sidecars, written with nibabel alone."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (12, 12, 3)
AFFINE = np.array([[-4.0, 0, 0, 20], [0, 4, 0, -30], [0, 0, 7, -10], [0, 0, 0, 1]])
TIMES = (0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0)  # s
SCANNER = {
    "Manufacturer": "Siemens", "ManufacturersModelName": "Skyra", "DeviceSerialNumber": "777",
    "MagneticFieldStrength": 3.0, "SoftwareVersions": "E11", "ReceiveCoilName": "Head_32",
}  # fmt: skip


def write_image(path: Path, data: np.ndarray, sidecar: dict | None, *, description: str = "") -> Path:
    """An image and its sidecar. description : free text of the NIfTI header"""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, AFFINE)
    image.header["descrip"] = description.encode()[:79]
    image.header["aux_file"] = description.encode()[:23]
    if description:
        extension = nib.nifti1.Nifti1Extension("comment", description.encode())
        image.header.extensions.append(extension)
    nib.save(image, path)
    if sidecar is not None:
        path.with_name(path.name.split(".")[0] + ".json").write_text(json.dumps(sidecar))
    return path


def recovery(t1: float = 1.1, seed: int = 4) -> np.ndarray:
    """(x, y, z, n) inversion recovery of a block in air, magnitudes."""
    rng = np.random.default_rng(seed)
    signal = np.zeros((*SHAPE, len(TIMES)))
    signal[3:9, 3:9] = 1000 * (1 - 1.9 * np.exp(-np.array(TIMES) / t1) + np.exp(-4.5 / t1))
    noise = rng.normal(0, 5, signal.shape) + 1j * rng.normal(0, 5, signal.shape)
    return np.rint(np.abs(signal + noise)).astype(np.int16)


def describe(root: Path) -> None:
    """The file that makes a folder a dataset."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "sent", "BIDSVersion": "1.9.0"}')


def write_recovery(root: Path, sub="01", ses="a", run="", *, description="", t1=1.1, **change) -> list[Path]:
    """An inversion recovery, one file a time; `change` goes over the sidecars, None takes a key away."""
    describe(root)
    session = f"_ses-{ses}" if ses else ""
    folder = root / f"sub-{sub}" / (f"ses-{ses}" if ses else "") / "anat"
    data = recovery(t1)
    paths = []
    for k, time in enumerate(TIMES):
        sidecar = {**SCANNER, "InversionTime": time, "RepetitionTime": 4.5, "FlipAngle": 90, **change}
        sidecar = {key: value for key, value in sidecar.items() if value is not None}
        name = f"sub-{sub}{session}{f'_run-{run}' if run else ''}_inv-{k + 1}_IRT1.nii.gz"
        paths.append(write_image(folder / name, data[..., k], sidecar, description=description))
    return paths
