"""Echo-planar images in a known field: made by hand, by the readout's own physics, or by moving signal about."""

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates

#: Points of the fine grid within a voxel.
FINE = 8


def make_blobs(shape, spacing=9, margin=10, width=1.2):
    """Gaussian blobs on a lattice of a grid, and their centers (b, 3) [voxels]."""
    axes = [np.arange(margin, n - margin, spacing) if n > 2 * margin else np.array([n // 2]) for n in shape]
    centers = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(float)
    return centers, width


def draw_blobs(shape, centers, width, shift=None, axis=1):
    """The blobs as an echo-planar image shows them: each point of signal moved by its own shift along one axis.

    shift : callable, places (..., 3) [voxels] to voxels
    """
    image = np.zeros(shape)
    steps = (np.arange(FINE) + 0.5) / FINE - 0.5
    reach = np.arange(-6, 7)
    other = [a for a in range(3) if a != axis]
    for center in centers:
        places = np.stack(np.meshgrid(*(np.round(center[a]) + reach for a in other), indexing="ij"), axis=-1)
        keep = np.all((places >= 0) & (places < [shape[a] for a in other]), axis=-1)
        for place in places[keep].astype(int):
            along = (np.round(center[axis]) + reach)[:, None] + steps
            along = along.ravel()
            points = np.zeros((along.size, 3))
            points[:, axis], points[:, other] = along, place
            density = np.exp(-0.5 * np.sum((points - center) ** 2, axis=1) / width**2) / FINE
            moved = along if shift is None else along + shift(points)
            line = np.zeros(shape[axis])
            low = np.floor(moved).astype(int)
            for index, share in ((low, 1 - (moved - low)), (low + 1, moved - low)):
                inside = (index >= 0) & (index < shape[axis])
                np.add.at(line, index[inside], (density * share)[inside])
            target = [0, 0, 0]
            target[axis] = slice(None)
            for a, value in zip(other, place, strict=True):
                target[a] = value
            image[tuple(target)] += line
    return image


def find_centroids(image, centers, reach=3):
    """(b, 3) array [voxels]: where the blobs near `centers` lie, by their first moments."""
    found = []
    for center in np.round(centers).astype(int):
        window = tuple(slice(max(c - reach, 0), c + reach + 1) for c in center)
        part = np.nan_to_num(image[window])
        grids = np.meshgrid(*(np.arange(w.start, w.start + n) for w, n in zip(window, part.shape, strict=True)),
                            indexing="ij")  # fmt: skip
        found.append([np.sum(part * g) / part.sum() for g in grids])
    return np.array(found)


def acquire_line(density, field, time, sign):
    """One line (n,) of an echo-planar image by its readout: each echo's sum over the turned spins, then the transform.

    density, field [Hz] : on a grid that is `FINE` times as fine; time : from the first to the last echo [s]
    """
    n = density.size // FINE
    place = (np.arange(density.size) + 0.5) / FINE - 0.5
    number = np.arange(n)
    k = sign * (number - n // 2) / n  # cycles a voxel, in the order of the echoes
    clock = (number - n // 2) * time / (n - 1)
    turns = k[:, None] * place + clock[:, None] * field
    echoes = (density * np.exp(-2j * np.pi * turns)).sum(axis=1) / FINE
    return np.abs((echoes[:, None] * np.exp(2j * np.pi * k[:, None] * number)).sum(axis=0)) / n


def smooth_line(density, width):
    """A density without edges that a few lines could not show."""
    return gaussian_filter1d(density, width * FINE)


def sample(field, places):
    """A volume at places (..., 3) [voxels], cubic."""
    return map_coordinates(field, np.moveaxis(places, -1, 0), order=3, mode="nearest")


def distort_volume(volume, shift, axis):
    """A volume (x, y, z) as its echo-planar image shows it: signal moved along one axis by a shift [voxels]."""
    lines, shifts = (np.moveaxis(v, axis, -1).reshape(-1, volume.shape[axis]) for v in (volume, shift))
    n = volume.shape[axis]
    fine = (np.arange(n * FINE) + 0.5) / FINE - 0.5
    out = np.zeros(lines.shape)
    for k, (line, moved) in enumerate(zip(lines, shifts, strict=True)):
        density = np.maximum(map_coordinates(line, [fine], order=3, mode="nearest"), 0) / FINE
        place = fine + np.interp(fine, np.arange(n), moved)
        low = np.floor(place).astype(int)
        for index, share in ((low, 1 - place + low), (low + 1, place - low)):
            inside = (index >= 0) & (index < n)
            out[k] += np.bincount(index[inside], (density * share)[inside], minlength=n)
    return np.moveaxis(out.reshape(np.moveaxis(volume, axis, -1).shape), -1, axis)
