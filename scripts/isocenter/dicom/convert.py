"""DICOM volumes to arrays by dcm2niix, each held against the pixels that pydicom counted.

dcm2niix decides geometry and slice order; the stored integers behind its output are recovered, held against the
headers' files plane by plane, and scaled here by the vendor's own rule, so that all volumes of a set share one unit
system (docs/decisions/0013). A volume whose integers, slice order or place differ from the headers raises.
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dcm2niix
import nibabel as nib
import numpy as np

from isocenter.dicom.false_images import Print, check_copies, check_cuts, print_slices
from isocenter.dicom.group import Member
from isocenter.dicom.one_study import check_one_study_date
from isocenter.dicom.pixels import name_syntax, stored_ceiling
from isocenter.dicom.sets import AcquisitionSet
from isocenter.dicom.suffixes import ECHO_PLANAR, SUFFIXES
from isocenter.errors import DicomError, explain

#: -g i: nobody's defaults file; -l o: integers as stored; -z n: compression is made here, as sidecars are: of
#: dcm2niix's own (-b y) only `READOUT` is taken;
#: -x i: volumes of 3D acquisitions stay in the slice order of the headers, neither cropped nor turned;
#: --ignore_trigger_times: trigger delays (Philips inversion delays) must not split or stretch a volume.
OPTIONS = ("-g", "i", "-b", "y", "-z", "n", "-l", "o", "-p", "y", "-w", "2", "-x", "i", "-f", "volume")
#: How far from an integer a value may be after the scaling is undone: float32 keeps 16 bits to 0.004.
ROUNDING_TOLERANCE = 0.02
#: The place of a volume's center [mm] from dcm2niix and from the headers.
PLACE_TOLERANCE = 0.02
#: A hung converter must not hang the trial [s].
TIME_LIMIT = 600
#: How an echo-planar image was read out, as dcm2niix reads it from each vendor's own elements: along which axis of the
#: image as converted and which way, and how long [s]. Of Philips it knows the axis alone, and estimates the time: both
#: come under names of their own, and correct nothing until the site states the rest (`readouts`).
READOUT = (
    "PhaseEncodingDirection", "TotalReadoutTime", "EffectiveEchoSpacing", "PhaseEncodingAxis",
    "EstimatedTotalReadoutTime",
)  # fmt: skip


@dataclass(frozen=True)
class Converted:
    """One volume. data : (x, y, z) array; affine : (4, 4) array [mm, RAS+]; saturation in the units of data or None.

    readout : sidecar keys of `READOUT`, as far as the header tells them
    prints : of the slices as they are stored, in the order of z
    """

    data: np.ndarray
    affine: np.ndarray
    saturation: float | None
    is_verified: bool
    readout: dict[str, Any] = field(default_factory=dict)
    prints: tuple[Print, ...] = ()


def converter_version() -> str:
    """The version of dcm2niix."""
    return dcm2niix.__version__


def convert_set(acquisition: AcquisitionSet) -> dict[float, Converted]:
    """Every volume of a set, by acquisition value. Raises DicomError when dcm2niix and the headers disagree.

    Raises it too where images are of several studies, of which dcm2niix makes several images, and where an image is
    not what its header says.
    """
    check_one_study_date(member.image.path for members in acquisition.volumes.values() for member in members)
    try:
        # One call for the whole set is many times faster; the volumes are told apart by their very pixels.
        converted = _convert_together(acquisition, list(acquisition.volumes))
    except DicomError:
        converted = _convert_apart(acquisition)
    if acquisition.part != "phase":  # the phase of air may well be 0
        check_copies(acquisition.kind, {value: volume.prints for value, volume in sorted(converted.items())})
        check_cuts(acquisition.kind, {value: volume.data for value, volume in sorted(converted.items())})
    saturated = _has_saturation(acquisition)
    return {
        value: Converted(
            volume.data,
            volume.affine,
            _saturation(acquisition.volumes[value]) if saturated else None,
            volume.is_verified,
            volume.readout if acquisition.suffix == ECHO_PLANAR else {},
        )
        for value, volume in sorted(converted.items())
    }


def _convert_apart(acquisition: AcquisitionSet) -> dict[float, Converted]:
    """One call per volume, so that dcm2niix has nothing to tell apart; needs values that do not share files."""
    files = [_files_of(members) for members in acquisition.volumes.values()]
    if sum(map(len, files)) != len(set().union(*files)):
        return _convert_together(acquisition, list(acquisition.volumes))
    converted = {}
    for value in acquisition.volumes:
        converted |= _convert_together(acquisition, [value])
    return converted


def _convert_together(acquisition: AcquisitionSet, values: list[float]) -> dict[float, Converted]:
    members = [member for value in values for member in acquisition.volumes[value]]
    files = dict(sorted((member.image.relative, member.image.path) for member in members))
    n_slices = len(acquisition.volumes[values[0]])
    syntaxes = {member.image.syntax for member in members}
    volumes = [volume for made in _run_converter(list(files.values()), syntaxes) for volume in _split(*made, n_slices)]
    return {value: _pick(volumes, acquisition.volumes[value], acquisition.suffix, value) for value in values}


def _files_of(members: list[Member]) -> set[str]:
    return {member.image.relative for member in members}


@dataclass(frozen=True)
class _Raw:
    """A volume as dcm2niix wrote it. stored : (x, y, z) array before the file's own scaling, scaled : after it."""

    stored: np.ndarray
    scaled: np.ndarray
    affine: np.ndarray
    readout: dict[str, Any]


def _run_converter(files: list[Path], syntaxes: set[str]) -> list[tuple[nib.Nifti1Image, dict[str, Any]]]:
    """The images that dcm2niix makes of `files`, each with its `READOUT`."""
    with tempfile.TemporaryDirectory(prefix="isocenter-intake-") as folder:
        staged, out = Path(folder, "in"), Path(folder, "out")
        staged.mkdir()
        out.mkdir()
        for number, path in enumerate(files):
            (staged / f"{number:06d}").symlink_to(path.resolve())
        command = [dcm2niix.bin, *OPTIONS, "--ignore_trigger_times", "-o", str(out), str(staged)]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=TIME_LIMIT, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise DicomError(f"dcm2niix did not finish within {TIME_LIMIT} s") from None
        paths = sorted(out.glob("*.nii"))
        if not paths:
            raise DicomError(
                explain(
                    "dcm2niix made no image of the series",
                    found=f"exit status {done.returncode}, {len(files)} files in transfer syntax "
                    f"{', '.join(map(name_syntax, sorted(syntaxes)))}",
                    remedy="send the series again uncompressed (Explicit VR Little Endian, 1.2.840.10008.1.2.1)",
                )
            )
        images = []
        for path in paths:
            image = nib.Nifti1Image.from_bytes(path.read_bytes())
            images.append((image, _read_readout(path.with_suffix(".json"))))
        return images


def _read_readout(sidecar: Path) -> dict[str, Any]:
    try:  # texts of the header stand in it with their control characters
        known = json.loads(sidecar.read_text(encoding="utf-8", errors="replace"), strict=False)
    except (OSError, ValueError):
        return {}
    return {key: known[key] for key in READOUT if key in known}


def _split(image: nib.Nifti1Image, readout: dict[str, Any], n_slices: int) -> list[_Raw]:
    """The volumes of `n_slices` in an image: single slices of many values may come stacked along z, at one place."""
    stored = np.asanyarray(image.dataobj.get_unscaled())
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    stored = stored.reshape((*stored.shape[:2], -1), order="F")  # slices of one volume stay together
    scaled = stored.astype(np.float64) * slope + intercept
    return [
        _Raw(stored[..., i : i + n_slices], scaled[..., i : i + n_slices], image.affine, readout)
        for i in range(0, stored.shape[2], n_slices)
    ]


def _pick(volumes: list[_Raw], members: list[Member], suffix: str, value: float) -> Converted:
    """The one volume whose stored integers are those of `members`, in the slice order of the headers."""
    image = members[0].image
    shape = (image.n_columns, image.n_rows, len(members))
    candidates = [v for v in volumes if v.stored.shape == shape]
    if any(m.frame.total is None for m in members):  # compressed, and no decoder here: nothing to hold it against
        if len(volumes) == len(candidates) == 1:
            raw = candidates[0]
            _check_place(raw, members)
            return _finish(raw, raw.stored, members, is_verified=False)
        candidates = []
    for raw in candidates:
        for ordered in (members, members[::-1]):
            integers = _find_integers(raw, ordered)
            if integers is not None:
                _check_place(raw, members)
                return _finish(raw, integers, ordered, is_verified=True)
    raise DicomError(
        explain(
            "The converted images differ from the DICOM pixels",
            where=f"{suffix}, {SUFFIXES[suffix].noun} {value:g} {SUFFIXES[suffix].unit}",
            expected=f"{len(members)} slices of {image.n_columns} × {image.n_rows} with the sums of their pixels",
            found=", ".join(sorted({" × ".join(map(str, v.stored.shape)) for v in volumes})) or "nothing",
            remedy="report it with the scanner's model and software version; the series is left out until then",
        )
    )


def _finish(raw: _Raw, stored: np.ndarray, members: list[Member], *, is_verified: bool) -> Converted:
    data, prints = _scale(stored, members), print_slices(stored)
    return Converted(data, raw.affine, None, is_verified, raw.readout, prints)


def _find_integers(raw: _Raw, members: list[Member]) -> np.ndarray | None:
    """The stored integers behind a volume when they are those of `members`, slice by slice; else None.

    dcm2niix gives the integers themselves, or floats that it scaled by the display's or the precise rule where the
    scaling varies within a file: each of these is undone and held against minimum, maximum and sum. Floats of several
    Philips volumes carry the first one's scale slope on top: they are read without the file's own scaling.
    """
    frames = [m.frame for m in members]
    expected = np.array([(f.minimum, f.maximum, f.total) for f in frames], dtype=np.int64)
    display = ([f.display_slope for f in frames], [f.display_intercept for f in frames])
    precise = ([f.slope for f in frames], [f.intercept for f in frames])
    if raw.stored.dtype.kind in "iu":
        tries = [(raw.stored, None, None)]
    else:
        tries = [(raw.stored, *display), (raw.stored, *precise), (raw.scaled, *display), (raw.scaled, *precise)]
    for data, slopes, intercepts in tries:
        integers = data
        if slopes is not None:
            undone = (data - np.array(intercepts)) / np.array(slopes)
            integers = np.rint(undone)
            if np.abs(undone - integers).max() > ROUNDING_TOLERANCE:
                continue
            integers = integers.astype(np.int64)
        found = np.stack([integers.min((0, 1)), integers.max((0, 1)), integers.sum((0, 1), dtype=np.int64)], axis=1)
        if np.array_equal(found, expected):
            return integers
    return None


def _scale(stored: np.ndarray, members: list[Member]) -> np.ndarray:
    """Values in the vendor's comparable unit: the integers where there is nothing to scale, else float32."""
    slopes = np.array([m.frame.slope for m in members])
    intercepts = np.array([m.frame.intercept for m in members])
    if np.all(slopes == 1.0) and np.all(intercepts == 0.0):
        return np.ascontiguousarray(stored, dtype=np.int16 if np.abs(stored).max() < 2**15 else np.int32)
    return (stored.astype(np.float64) * slopes + intercepts).astype(np.float32)


def _check_place(raw: _Raw, members: list[Member]) -> None:
    """The center of the volume, from dcm2niix and from the headers, must agree."""
    centers = []
    for member in members:
        frame, image = member.frame, member.image
        along_row, along_column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
        centers.append(
            np.array(frame.position)
            + along_row * frame.spacing[1] * (image.n_columns - 1) / 2
            + along_column * frame.spacing[0] * (image.n_rows - 1) / 2
        )
    expected = np.mean(centers, axis=0) * (-1, -1, 1)  # DICOM's LPS to NIfTI's RAS
    found = raw.affine[:3, :3] @ ((np.array(raw.stored.shape) - 1) / 2) + raw.affine[:3, 3]
    if np.linalg.norm(found - expected) > PLACE_TOLERANCE:
        raise DicomError(
            explain(
                "dcm2niix and the headers place the volume differently",
                expected=f"center at {np.round(expected, 2).tolist()} mm",
                found=f"{np.round(found, 2).tolist()} mm",
                remedy="check for missing slices or uneven gaps between slices",
            )
        )


#: Where images are scaled to fill the stored range, a single pixel at the ceiling is the brightest, not a clipped one.
FEWEST_CLIPPED = 4


def _has_saturation(acquisition: AcquisitionSet) -> bool:
    """Whether the ceiling of the stored integers is within reach in this set."""
    fills = any(s.description.vendor.fills_stored_range for s in acquisition.used)
    counts = [sum(m.frame.at_ceiling or 0 for m in members) for members in acquisition.volumes.values()]
    if fills:
        return max(counts) >= FEWEST_CLIPPED
    bits = min(m.image.bits_stored for members in acquisition.volumes.values() for m in members)
    return bits <= 12 or max(counts) > 0


def _saturation(members: list[Member]) -> float:
    """The value of the stored ceiling in the scaled units of a volume, half a step below it where it is rounded."""
    values = []
    for member in members:
        frame, image = member.frame, member.image
        ceiling = stored_ceiling(image.bits_stored, image.is_signed)
        is_plain = frame.slope == 1.0 and frame.intercept == 0.0
        values.append(ceiling if is_plain else (ceiling - 0.5) * frame.slope + frame.intercept)
    return float(min(values))
