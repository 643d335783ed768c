"""NIfTI and its sidecars, through nibabel only. Bytes repeat: no time stamps are written."""

import contextlib
import gzip
import importlib
import io
import json
import os
import sys
import types
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.errors import ConfigError, MachineError, SidecarError, explain
from isocenter.trouble import disk_trouble
from isocenter.units import check_unit
from isocenter.volume import ParameterMap, Series, Volume


def _import_nibabel() -> types.ModuleType:
    """Nibabel without pydicom, which it imports for extensions of NIfTI that nobody reads here: half of its start."""
    if "pydicom" in sys.modules or "nibabel" in sys.modules:
        return importlib.import_module("nibabel")
    sys.modules["pydicom"] = None  # Python's own way to say that a module is not there
    try:
        return importlib.import_module("nibabel")
    finally:
        del sys.modules["pydicom"]


nib = _import_nibabel()

#: The largest number of a label, and how far from a whole number one may lie that went through a scaling.
LARGEST_LABEL, LABEL_ROUNDING = 32_767, 0.01
#: How many voxels are read at once before they are put in their places.
_BLOCK_VOXELS = 64_000_000
#: Why no image can be read now (`refuse_images`).
_refusal: MachineError | None = None


@contextlib.contextmanager
def refuse_images(error: MachineError) -> Iterator[None]:
    """Let every reading of an image fail with `error` while the block runs.

    A step whose process was killed for want of memory is run once more like this: it says what it would say of an
    image that is too large to be read, and leaves the others alone.
    """
    global _refusal
    _refusal = error
    try:
        yield
    finally:
        _refusal = None


def sidecar_path(nifti: str | os.PathLike) -> Path:
    """The JSON sidecar that stands beside a NIfTI file."""
    path = Path(nifti)
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def read_sidecar(nifti: str | os.PathLike) -> dict[str, Any]:
    """The sidecar of a NIfTI file; SidecarError when it is absent or no JSON object."""
    path = sidecar_path(nifti)
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SidecarError(
            explain("A sidecar is missing", where=str(path), remedy="run intake again, or write it by hand")
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SidecarError(explain("A sidecar is no JSON", where=str(path), found=error)) from None
    if not isinstance(sidecar, dict):
        raise SidecarError(explain("A sidecar is no JSON object", where=str(path), found=type(sidecar).__name__))
    return sidecar


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write JSON whole or not at all, keys in the given order, NaN as null."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write a file whole or not at all: to a neighbor first, then renamed over; DiskError when the disk refuses."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise disk_trouble(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # a disk that refuses to write may refuse this, too
            partial.unlink(missing_ok=True)


def write_image(
    path: str | os.PathLike, data: np.ndarray, affine: np.ndarray, sidecar: dict[str, Any] | None = None
) -> None:
    """Write a NIfTI image (gzip without a time stamp) and, when given, its sidecar."""
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    raw = image.to_bytes()
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as file:
        file.write(raw)
    write_bytes(path, buffer.getvalue())
    if sidecar is not None:
        write_json(sidecar_path(path), sidecar)


def read_volume(path: str | os.PathLike, unit: str = "arbitrary") -> Volume:
    """One 3D image as float32 (NaN stays NaN)."""
    image = load_image(path)
    return Volume(_as_volume(np.asarray(image.dataobj, dtype=np.float32)), image.affine, unit)


def _as_volume(data: np.ndarray) -> np.ndarray:
    """Three axes where a file says the same with two or with empty further ones."""
    data = data.reshape(data.shape + (1,) * (3 - data.ndim))
    return data.reshape(data.shape[:3]) if data.size == np.prod(data.shape[:3]) else data


def read_layers(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The layers (x, y, z) of a 4D image by the names that its sidecar gives under ``Parameters``."""
    voxels = np.asarray(load_image(path).dataobj, dtype=np.float32)
    names = read_sidecar(path).get("Parameters", [])
    if voxels.ndim != 4 or len(names) != voxels.shape[3]:
        return {}
    return {name: voxels[..., k] for k, name in enumerate(names)}


def read_labels(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """A label image: (x, y, z) int16 array and affine; ConfigError where its numbers are no labels."""
    image = load_image(path)
    values = _as_volume(np.asanyarray(image.dataobj))
    is_number = values.dtype.kind in "biuf"
    whole = np.rint(np.nan_to_num(values)) if is_number else values
    fits = is_number and values.ndim == 3 and np.abs(whole).max(initial=0) <= LARGEST_LABEL
    if not fits or np.any(np.abs(np.nan_to_num(values) - whole) > LABEL_ROUNDING):
        raise ConfigError(
            explain(
                "An image holds no labels",
                where=str(path),
                expected=f"three axes and whole numbers up to {LARGEST_LABEL}",
                found=f"shape {values.shape}, {values.dtype}"
                + (f", from {np.nanmin(values):g} to {np.nanmax(values):g}" if is_number and values.size else ""),
                remedy="export the segmentation as labels, not as probabilities or colors",
            )
        )
    return whole.astype(np.int16), image.affine


def load_image(path: str | os.PathLike) -> Any:
    """A NIfTI image whose voxels stay on disk; ConfigError when there is none that can be read."""
    if _refusal is not None:
        raise _refusal
    try:
        # One open file: volumes of a compressed image are read one after another without starting anew.
        return nib.load(path, keep_file_open=True)
    except FileNotFoundError:
        raise ConfigError(explain("An image is missing", where=str(path), remedy="check the path")) from None
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        raise ConfigError(explain("An image cannot be read as NIfTI", where=str(path), found=error)) from None


def read_series(paths: list[str | os.PathLike]) -> Series:
    """One acquisition series from one 4D file, or from one file per value, each with its sidecar.

    A sidecar key that differs between the files becomes an array over the series, in the order of the files;
    a key that does not stays as it is. ``SaturationValue`` becomes :attr:`Series.saturation`. The b-values and
    directions of diffusion images come from the ``.bval`` and ``.bvec`` beside them where the sidecar has none.
    """
    images = [load_image(path) for path in paths]
    first = images[0]
    for path, image in zip(paths, images, strict=True):
        if len(image.shape) not in (3, 4):
            raise SidecarError(explain("An image is no volume or series", where=str(path), found=image.shape))
        if image.shape[:3] != first.shape[:3] or not np.allclose(image.affine, first.affine, atol=1e-3):
            raise SidecarError(
                explain(
                    "The files of one series differ in geometry",
                    where=str(path),
                    expected=f"{first.shape[:3]} as in {Path(paths[0]).name}",
                    found=image.shape[:3],
                    remedy="check that the files belong to one acquisition",
                )
            )
    volumes = [image.shape[3] if len(image.shape) == 4 else 1 for image in images]
    sidecars = [_read_acquisition(path, n) for path, n in zip(paths, volumes, strict=True)]
    acquisition = _merge(sidecars, paths)
    data = _read_voxels(paths, images, volumes)
    saturation = np.broadcast_to(
        np.asarray(
            [np.inf if v is None else v for v in np.atleast_1d(acquisition.pop("SaturationValue", np.inf))],
            dtype=float,
        ),
        (data.shape[3],),
    )
    return Series(data, first.affine, acquisition, saturation)


def _read_voxels(paths: list[str | os.PathLike], images: list[Any], volumes: list[int]) -> np.ndarray:
    """(x, y, z, n) float32 array, the samples of a voxel side by side; no second copy is ever held."""
    shape = images[0].shape[:3]
    data = np.empty((*shape, sum(volumes)), np.float32)
    done = 0
    for path, image, n in zip(paths, images, volumes, strict=True):
        step = max(1, _BLOCK_VOXELS // max(1, int(np.prod(shape))))
        try:
            for k in range(0, n, step):
                stop = min(k + step, n)
                block = image.dataobj[..., k:stop] if len(image.shape) == 4 else image.dataobj[..., np.newaxis]
                data[..., done + k : done + stop] = block
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ConfigError(
                explain("An image is damaged", where=str(path), found=error, remedy="convert or copy it again")
            ) from None
        done += n
    return data


def _read_acquisition(path: str | os.PathLike, n: int) -> dict[str, Any]:
    """The sidecar of a file of n volumes, with b-values and directions from beside it where it has none."""
    stem = str(sidecar_path(path)).removesuffix(".json")
    b_values = Path(f"{stem}.bval")
    if not b_values.is_file():
        return read_sidecar(path)
    sidecar = read_sidecar(path) if sidecar_path(path).is_file() else {}
    found = {"DiffusionBValue": (b_values, 1)}
    if Path(f"{stem}.bvec").is_file():
        found["DiffusionGradientOrientation"] = (Path(f"{stem}.bvec"), 3)
    for key, (file, rows) in found.items():
        if key not in sidecar:
            numbers = _read_numbers(file, (rows, n))
            sidecar[key] = numbers[0].tolist() if rows == 1 else numbers.T.tolist()
    return sidecar


def _read_numbers(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The table of a .bval or .bvec file; SidecarError where it has not the shape that belongs to its image."""
    rows, n = shape
    expected = f"{rows} row{'s' if rows > 1 else ''} of {n} numbers, one per volume"
    try:
        numbers = np.loadtxt(path, ndmin=2)
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise SidecarError(
            explain("A gradient file is unreadable", where=str(path), expected=expected, found=error)
        ) from None
    if numbers.shape == (n, rows) and n != rows:
        numbers = numbers.T
    if numbers.shape != shape:
        found = f"{numbers.shape[0]} × {numbers.shape[1]} numbers"
        raise SidecarError(
            explain(
                "A gradient file does not suit its image",
                where=str(path),
                expected=expected,
                found=found,
                remedy="give the file that was made with this image",
            )
        )
    return numbers


def write_map(
    path: str | os.PathLike, parameter_map: ParameterMap, stderr_path, flag_path, sidecar: dict[str, Any]
) -> None:
    """Write value (with sidecar), standard error and flag images; the sidecar gains ``Units``."""
    unit = check_unit(parameter_map.unit)
    write_image(path, parameter_map.value.astype(np.float32), parameter_map.affine, {**sidecar, "Units": unit})
    write_image(stderr_path, parameter_map.stderr.astype(np.float32), parameter_map.affine, {"Units": unit})
    write_image(flag_path, parameter_map.flag.astype(np.uint8), parameter_map.affine)


def read_map(path, stderr_path, flag_path) -> tuple[ParameterMap, dict[str, Any]]:
    """Read what :func:`write_map` wrote: the map and its sidecar."""
    sidecar = read_sidecar(path)
    value = load_image(path)
    return (
        ParameterMap(
            np.asarray(value.dataobj, dtype=np.float32),
            np.asarray(load_image(stderr_path).dataobj, dtype=np.float32),
            np.asarray(load_image(flag_path).dataobj).astype(np.uint8),
            value.affine,
            sidecar.get("Units", ""),
        ),
        sidecar,
    )


def _merge(sidecars: list[dict[str, Any]], paths) -> dict[str, Any]:
    if len(sidecars) == 1:
        return {k: np.asarray(v) if _is_numeric_list(v) else v for k, v in sidecars[0].items()}
    merged: dict[str, Any] = {}
    for key in sidecars[0]:
        values = [sidecar.get(key) for sidecar in sidecars]
        if all(value == values[0] for value in values):
            merged[key] = np.asarray(values[0]) if _is_numeric_list(values[0]) else values[0]
        elif all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            merged[key] = np.asarray(values, dtype=float)
        else:
            merged[key] = values
    return merged


def _is_numeric_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, (int, float)) for v in value)


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, np.ndarray):
        return _plain(content.tolist())
    if isinstance(content, np.generic):
        return _plain(content.item())
    if isinstance(content, float) and not np.isfinite(content):
        return None
    if isinstance(content, os.PathLike):
        return os.fspath(content)
    return content
