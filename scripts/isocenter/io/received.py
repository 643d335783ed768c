"""NIfTI images that somebody sent: read within bounds, with a place in space, or refused."""

from pathlib import Path

import nibabel as nib
import numpy as np

from isocenter.errors import ConfigError, explain

#: Voxels are read into memory: no more than this [bytes], and no more times the file's size unless they are small.
LARGEST, HIGHEST_RATIO, SMALL = 2**31, 1000, 2**26
#: How large a voxel [mm] may be: that of a microscope to a survey of the whole body.
SPACING = (1e-3, 100.0)


def read_received(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The voxels, (x, y, z) or (x, y, z, n) integer or float32 array, and the affine (4, 4) [mm, RAS+].

    Of the header nothing else is taken: names may stand in it. Raises ConfigError for what is damaged, of more than
    four dimensions, without a place, not of real numbers, or larger than its file can hold.
    """
    size = path.stat().st_size
    try:
        image = nib.Nifti1Image.from_filename(path)
        header, shape = image.header, image.shape
    except Exception as error:  # nibabel raises whatever a damaged header makes it stumble over
        raise _refuse("a NIfTI-1 image", type(error).__name__) from None
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise _refuse("a volume, or a series of volumes", f"dimensions {shape}")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise _refuse("real numbers", f"data type {dtype}")
    needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if needed > LARGEST or needed > max(HIGHEST_RATIO * size, SMALL):
        raise _refuse(f"an image that its {size} bytes can hold", f"dimensions {shape}, {needed} bytes")
    if not (int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0):
        raise _refuse("a place in space (qform or sform)", "qform_code and sform_code are 0")
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    if not np.isfinite(image.affine).all() or not ((spacing >= SPACING[0]) & (spacing <= SPACING[1])).all():
        raise _refuse(f"voxels of {SPACING[0]:g} to {SPACING[1]:g} mm", f"{np.round(spacing, 4).tolist()} mm")
    if abs(np.linalg.det(image.affine[:3, :3])) < 0.5 * np.prod(spacing):
        raise _refuse("axes at right angles", "axes that are nearly in one plane")
    try:
        voxels = np.asanyarray(image.dataobj)
    except Exception as error:  # gzip, zlib and numpy each raise their own
        raise _refuse("voxels as many as its header says", type(error).__name__) from None
    compact = _compact(voxels)
    if compact.dtype.kind == "f" and np.isinf(compact).any():
        raise _refuse("values that a number of 32 bits can hold", "infinite values")
    return compact, image.affine


def _compact(voxels: np.ndarray) -> np.ndarray:
    if voxels.dtype.kind in "iu" and voxels.size and np.abs(voxels.astype(np.int64)).max() < 2**31:
        return voxels.astype(np.int16 if np.abs(voxels.astype(np.int64)).max() < 2**15 else np.int32)
    with np.errstate(over="ignore"):
        return voxels.astype(np.float32)


def _refuse(expected: str, found: object) -> ConfigError:
    return ConfigError(
        explain("An image cannot be used", expected=expected, found=found, remedy="convert or copy it again")
    )
