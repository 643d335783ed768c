"""Phantom sessions of known truth as classic DICOM: a slice through vials, sampled, noisy, stored as integers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dicom.small import header, save, uid
from pydicom.dataset import Dataset

#: Points per pixel along each axis, so that a vial's edge is a share of a pixel.
FINE = 4
#: A vial's wall gives no signal [mm].
WALL = 1.0
#: A signal of 1 is stored as this integer; the scanner's range ends at 4095.
UNIT = 2000.0
THICKNESS = 6.0


@dataclass
class Plate:
    """What a slice through the vials holds.

    shares : (v + 1, x, y) of each pixel, the last of the fluid between the vials; vials : (v,) numbers
    centers : (v, 2) of the vials [mm from the middle of the image]; x, y : of the pixels [mm from there]
    """

    vials: np.ndarray
    centers: np.ndarray
    shares: np.ndarray
    x: np.ndarray
    y: np.ndarray
    pixel: float


def draw_vials(vials, centers, diameter, body_radius, *, angle=0.0, shift=(0.0, 0.0), tilt=0.0, offset=0.0, length=0.0,
               size=128, pixel=2.0) -> Plate:  # fmt: skip
    """Vials in fluid, at `angle` [deg] and `shift` [mm] from the middle of the image.

    vials, centers : (v,) and (v, 2) [mm]; diameter, body_radius : [mm], of a vial with its wall
    tilt : of the slice about the image's x axis [deg], offset : of its middle from the plate's [mm]
    length : of tubes [mm], 0 for spheres
    """
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turned = np.asarray(centers, dtype=float)[:, :2] @ np.array([[c, s], [-s, c]]) + shift
    n = size * FINE
    axis = (np.arange(n) + 0.5) * pixel / FINE - size * pixel / 2
    shares = np.zeros((len(turned) + 1, size, size), np.float32)
    # A tilted slice cuts the plate's plane along a line through the middle; elsewhere it lies above or below it.
    depths = (np.arange(FINE) + 0.5) / FINE - 0.5 if tilt or offset else np.zeros(1)
    for depth in depths * THICKNESS + offset:
        u, v = axis[:, None], axis[None, :] * np.cos(np.radians(tilt)) - depth * np.sin(np.radians(tilt))
        w = axis[None, :] * np.sin(np.radians(tilt)) + depth * np.cos(np.radians(tilt))
        fluid = np.hypot(u - shift[0], v - shift[1]) <= body_radius
        inside = np.zeros((len(turned), n, n), bool)
        for k, (x, y) in enumerate(turned):
            r = np.hypot(u - x, v - y)
            r = np.where(np.abs(w) <= length / 2, r, np.inf) if length else np.sqrt(r**2 + w**2)
            fluid &= r > diameter / 2
            inside[k] = r <= diameter / 2 - WALL
        for k, layer in enumerate([*inside, fluid]):
            shares[k] += layer.reshape(size, FINE, size, FINE).mean(axis=(1, 3)) / len(depths)
    x, y = np.meshgrid(*[(np.arange(size) + 0.5) * pixel - size * pixel / 2] * 2, indexing="ij")
    return Plate(np.asarray(vials), turned, shares, x, y, pixel)


def draw_array(geometry, **options) -> Plate:
    """The vials of a phantom's array."""
    return draw_vials(geometry.vials, geometry.centers, geometry.sphere_diameter, geometry.body_radius, **options)


def draw_tubes(geometry, **options) -> Plate:
    """The same where the definition's diameter is that inside of long tubes."""
    outer = geometry.sphere_diameter + 2 * WALL
    return draw_vials(geometry.vials, geometry.centers, outer, geometry.body_radius, length=200.0, **options)


def fill(plate: Plate, signals) -> np.ndarray:
    """(x, y, n) images of (v + 1, n) signals, or of a function from layer and pixels (x, y) to (pixels, n) signals."""
    if not callable(signals):
        return np.einsum("kxy,kn->xyn", plate.shares, np.asarray(signals))
    total = None
    for k, share in enumerate(plate.shares):
        at = share > 0
        own = share[at][:, None] * signals(k, plate.x[at], plate.y[at])
        total = np.zeros((*share.shape, own.shape[1]), own.dtype) if total is None else total
        total[at] += own
    return total


def scan(images: np.ndarray, snr: float, seed: int) -> np.ndarray:
    """Complex images as a coil sees them: noise of 1/snr in each channel."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, *images.shape)) / snr
    return images + noise[0] + 1j * noise[1]


def write_images(
    folder: Path, base: Dataset, values: list[dict], images: np.ndarray, pixel: float, *, slices=1
) -> None:
    """One file per value and slice. images : (x, y, n) complex or real; elements of `values` go into the headers.

    An image type that says P stores the phase as SIEMENS does, any other the magnitude; every slice shows the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = images.shape[0]
    for index, value in enumerate(values):
        for plane in range(slices):
            dataset = Dataset()
            dataset.update(base)
            for key, text in value.items():
                setattr(dataset, key, text)
            number = index * slices + plane + 1
            dataset.InstanceNumber = str(number)
            dataset.SOPInstanceUID = uid(base.SeriesInstanceUID, number)
            corner = -(size - 1) / 2 * pixel
            dataset.ImagePositionPatient = [corner, corner, THICKNESS * plane]
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            dataset.PixelSpacing = [pixel, pixel]
            dataset.SliceThickness = dataset.SpacingBetweenSlices = str(THICKNESS)
            image = images[..., index]
            if "P" in dataset.ImageType:
                dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-4096"
                stored = np.clip(np.round((np.angle(image) / np.pi + 1) * 2048), 0, 4095)
            else:
                stored = np.clip(np.round(np.abs(image) * UNIT), 0, 4095)
            add_pixels(dataset, stored.T)
            save(dataset, folder / f"{number:03d}")


def add_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    """Store (rows, columns) integers of 12 bits."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = np.ascontiguousarray(stored).astype("<u2").tobytes()


def ms(seconds) -> list[str]:
    """Times as a header writes them."""
    return [f"{1e3 * t:g}" for t in seconds]


def gradient_echo(name: str, field: float, **elements) -> Dataset:
    """The header of a gradient echo."""
    common = {"ScanningSequence": "GR", "SequenceVariant": "SP", "PatientID": "PHANTOM"}
    return header(name, **{**common, "MagneticFieldStrength": f"{field:g}", **elements})


def spin_echo(name: str, field: float, **elements) -> Dataset:
    """The header of a spin echo without inversion."""
    common = {"ScanningSequence": "SE", "PatientID": "PHANTOM"}
    return header(name, **{**common, "MagneticFieldStrength": f"{field:g}", **elements})


def inversion_recovery(name: str, field: float, **elements) -> Dataset:
    """The header of an inversion recovery."""
    common = {"ScanningSequence": ["SE", "IR"], "PatientID": "PHANTOM"}
    return header(name, **{**common, "MagneticFieldStrength": f"{field:g}", **elements})
