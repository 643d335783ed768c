"""The real session's images, moved, mirrored and spoiled in known ways: the truth moves with them."""

import io
import tarfile
from dataclasses import replace

import numpy as np
import pydicom
from scipy import ndimage

from isocenter.volume import ParameterMap, Volume


def read_geometry_scan(nist_data):
    """The 3D geometry scan of the session as a volume."""
    slices = []
    with tarfile.open(nist_data / "session_a_geometry_dicom.tar.gz") as archive:
        for member in archive:
            if member.isfile():
                try:
                    slices.append(pydicom.dcmread(io.BytesIO(archive.extractfile(member).read())))
                except pydicom.errors.InvalidDicomError:
                    continue
    orientation = np.array(slices[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(orientation[:3], orientation[3:])
    slices.sort(key=lambda d: float(np.dot(normal, np.array(d.ImagePositionPatient, dtype=float))))
    first, last = (np.array(d.ImagePositionPatient, dtype=float) for d in (slices[0], slices[-1]))
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * float(slices[0].PixelSpacing[1])
    affine[:3, 1] = orientation[3:] * float(slices[0].PixelSpacing[0])
    affine[:3, 2] = (last - first) / (len(slices) - 1)
    affine[:3, 3] = first
    data = np.stack([d.pixel_array.T for d in slices], axis=-1).astype(np.float32)
    return Volume(data, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def rotation(axis, degrees):
    """(3, 3) rotation about an axis."""
    axis = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    a = np.radians(degrees)
    return np.eye(3) - np.sin(a) * cross + (1 - np.cos(a)) * (cross @ cross)


def move_volume(volume, turn, shift, *, spacing=None, pivot=None):
    """The object turned (or mirrored) about `pivot` and shifted, RAS+ [mm]; sampled anew at `spacing` [mm].

    Returns the volume and a function that moves points as the object moved.
    """
    affine, old = volume.affine.copy(), np.sqrt((volume.affine[:3, :3] ** 2).sum(axis=0))
    shape = np.array(volume.data.shape)
    if pivot is None:
        pivot = affine[:3, :3] @ ((shape - 1) / 2) + affine[:3, 3]
    data = volume.data
    if spacing is not None:
        new = np.asarray(spacing, dtype=float) * np.ones(3)
        # Voxels average what they hold; a box of even size would shift the image, a bell of the same width does not.
        data = ndimage.gaussian_filter(data, np.where(new > old, new / old / np.sqrt(12.0), 0.0))
        shape = np.floor(shape * old / new).astype(int)
        affine[:3, :3] *= new / old
    turn, shift = np.asarray(turn, dtype=float), np.asarray(shift, dtype=float)
    back = np.eye(4)
    back[:3, :3] = turn.T
    back[:3, 3] = pivot - turn.T @ (pivot + shift)
    matrix = np.linalg.inv(volume.affine) @ back @ affine
    moved = ndimage.affine_transform(data, matrix, output_shape=tuple(shape), order=1)

    def move_points(points):
        return (points - pivot) @ turn.T + pivot + shift

    return Volume(moved, affine), move_points


def move_plane(series, fitted, degrees, shift, *, mirrored=False):
    """A single-slice series and its map turned in plane by `degrees` and shifted by (2,) mm in place.

    Returns both and a function that moves (n, 3) voxels as the object moved.
    """
    spacing = np.sqrt((series.affine[:3, :2] ** 2).sum(axis=0))
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    middle = (np.array(series.data.shape[:2]) - 1) / 2 * spacing
    shift = np.asarray(shift, dtype=float)
    matrix = turn.T * spacing / spacing[:, None]
    offset = (middle - turn.T @ (middle + shift)) / spacing

    def move(image, order):
        return ndimage.affine_transform(image, matrix, offset, order=order)

    data = np.stack([move(series.data[:, :, 0, j], 1) for j in range(series.n)], axis=-1)[:, :, None]
    value, stderr, flag = (move(x[:, :, 0], 0)[:, :, None] for x in (fitted.value, fitted.stderr, fitted.flag))

    def move_points(voxels):
        flat = (voxels[:, :2] * spacing - middle) @ turn.T + middle + shift
        return np.column_stack([flat / spacing, voxels[:, 2]])

    return replace(series, data=data), ParameterMap(value, stderr, flag, fitted.affine, fitted.unit), move_points


def add_noise(data, snr, seed, *, signal):
    """Magnitude images with Rician noise of `signal` / `snr`."""
    rng = np.random.default_rng(seed)
    sigma = signal / snr
    real = data + sigma * rng.standard_normal(data.shape).astype(np.float32)
    return np.hypot(real, sigma * rng.standard_normal(data.shape).astype(np.float32)).astype(np.float32)


def shade(data, axis, factor):
    """The image under a receive coil whose sensitivity falls by `factor` from one end of `axis` to the other."""
    ramp = factor ** (-np.linspace(0.0, 1.0, data.shape[axis]))
    return (data * ramp.reshape([-1 if a == axis else 1 for a in range(data.ndim)])).astype(np.float32)


def blank_ball(volume, center, radius):
    """The volume with no signal in a ball, RAS+ [mm]: a bubble."""
    inverse = np.linalg.inv(volume.affine)
    spacing = np.sqrt((volume.affine[:3, :3] ** 2).sum(axis=0))
    voxel = inverse[:3, :3] @ center + inverse[:3, 3]
    grid = np.ogrid[tuple(slice(0, s) for s in volume.data.shape)]
    r2 = sum(((g - v) * s) ** 2 for g, v, s in zip(grid, voxel, spacing, strict=True))
    return replace(volume, data=np.where(r2 <= radius**2, np.float32(0), volume.data))
