"""The files of one acquisition in a BIDS dataset: which value each volume has, and what is missing."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.dataset.names import Name
from isocenter.dataset.sidecars import Sidecar, read_received_sidecar
from isocenter.dicom.constants import ASK_WHICH, are_unlike, is_constant, name_ends, tell_odd
from isocenter.dicom.plausible import RANGES
from isocenter.dicom.recognition import NOT_NEEDED, Recognition, ignore, quarantine
from isocenter.dicom.sets import SEND_WHOLE, VALUE_DIGITS
from isocenter.dicom.sidecar import SMALLEST_REFOCUSING_ANGLE
from isocenter.dicom.suffixes import SUFFIXES, Convertible
from isocenter.dicom.values import as_number
from isocenter.errors import IsocenterError
from isocenter.io.received import read_received

#: No table of b-values is larger [bytes].
LARGEST_TABLE = 2**20
ASK_FOR_VALUES = "Add the value to the sidecar as the scanner's header gives it, in BIDS' unit; it is never guessed"
#: Sidecar keys that are held against the ranges of `plausible`.
JUDGED = {
    "EchoTime": "echo_time", "EchoTime1": "echo_time", "EchoTime2": "echo_time", "RepetitionTime": "repetition_time",
    "RepetitionTimeExcitation": "repetition_time", "InversionTime": "inversion_time", "FlipAngle": "flip_angle",
    "DiffusionBValue": "b_value",
}  # fmt: skip
#: The sidecar keys of `constants.ODD`.
ODD_KEYS = {"bandwidth": "PixelBandwidth", "averages": "NumberOfAverages"}


@dataclass
class Volume:
    """One volume of an acquisition: the file it stands in, which of its volumes it is, what its sidecar says."""

    name: Name
    index: int
    count: int
    sidecar: dict[str, Any]


@dataclass
class Received:
    """An acquisition as it arrived. volumes, phases : by acquisition value, as in `sets.AcquisitionSet`.

    odd : words of `constants.ODD` to what was found
    """

    kind: str
    names: list[Name]
    outcome: Recognition
    volumes: dict[float, Volume] = field(default_factory=dict)
    phases: dict[float, Volume] = field(default_factory=dict)
    difference_of: tuple[float, ...] = ()
    named: dict[str, str] = field(default_factory=dict)
    sidecar: dict[str, Any] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)

    @property
    def convertible(self) -> Convertible:
        """What is known of every series of this kind."""
        return SUFFIXES[self.kind]


def recognize_received(root: Path, names: list[Name], needed: frozenset[str]) -> Received:
    """What the files of one acquisition are, with their values; nothing of the images is read yet."""
    kind = names[0].kind
    received = Received(kind, names, Recognition(kind))
    if not kind:
        received.outcome = ignore("", f"BIDS suffix {names[0].suffix} is not of use here", NOT_NEEDED)
        return received
    if kind not in needed:
        received.outcome = ignore(kind, SUFFIXES[kind].title, NOT_NEEDED)
        return received
    try:
        sidecars = {name.relative: read_received_sidecar(root, name) for name in names}
    except IsocenterError as error:
        received.outcome = quarantine(kind, str(error), "Send the sidecar again")
        return received
    received.named = {path: sidecar.names for path, sidecar in sidecars.items()}
    received.sidecar = next(iter(sidecars.values())).values
    problem = _fill_volumes(root, received, sidecars)
    if problem:
        received.outcome, received.volumes, received.phases = problem, {}, {}
    return received


def _fill_volumes(root: Path, received: Received, sidecars: dict[str, Sidecar]) -> Recognition | None:
    kind, suffix = received.convertible, received.kind
    phases = [name for name in received.names if name.is_phase]
    wanted = [n for n in received.names if not n.is_phase and n.get("part") in ("", "mag")]
    if not wanted:
        return ignore(suffix, "Phase, real or imaginary images without magnitude", NOT_NEEDED)
    difference = next((name for name in phases if name.suffix == "phasediff"), None)
    echoes = _echoes_of(sidecars[difference.relative].values) if difference else ()
    for name in wanted:
        values = dict(sidecars[name.relative].values)
        if name.suffix.startswith("magnitude") and len(echoes) == 2:
            values.setdefault("EchoTime", echoes[int(name.suffix[-1]) - 1])
        problem = _enter(root, received, received.volumes, name, values)
        if problem:
            return problem
    if len(received.volumes) < kind.fewest:
        number = f"{len(received.volumes)} {kind.noun}{'' if len(received.volumes) == 1 else 's'}"
        reason = f"{number} in the set: a fit needs {kind.fewest}"
        return quarantine(suffix, reason, SEND_WHOLE) if kind.is_spoiled else ignore(suffix, reason, NOT_NEEDED)
    unlike = _find_unlike(kind, received.volumes.values())
    if unlike:
        return quarantine(suffix, unlike, ASK_WHICH)
    received.odd = _find_odd(kind, received.volumes.values())
    if kind.has_phase:
        return _fill_phases(root, received, sidecars, phases, difference, echoes)
    return None


def _fill_phases(root, received, sidecars, phases, difference, echoes) -> Recognition | None:
    if difference is not None and len(echoes) == 2 and len(received.volumes) == 2:
        sidecar = sidecars[difference.relative].values
        received.phases = {max(received.volumes): Volume(difference, 0, 1, sidecar)}
        received.difference_of = tuple(sorted(echoes))
        return None
    for name in phases:
        problem = _enter(root, received, received.phases, name, dict(sidecars[name.relative].values))
        if problem:
            return problem
    if set(received.phases) == set(received.volumes):
        return None
    received.phases = {}
    if received.convertible.is_field_map:
        return ignore(
            received.kind,
            "Two gradient echoes without the phase of both, or their difference with EchoTime1 and EchoTime2",
            "If it is the field map, send its phase images too; else nothing",
        )
    return None


def _echoes_of(values: dict[str, Any]) -> tuple[float, ...]:
    return tuple(values[key] for key in ("EchoTime1", "EchoTime2") if isinstance(values.get(key), (int, float)))


def _enter(
    root: Path, received: Received, into: dict[float, Volume], name: Name, values: dict[str, Any]
) -> Recognition | None:
    """Enter the volumes of one file by their values, or say why they cannot be."""
    kind, suffix = received.convertible, received.kind
    if suffix == "dwi" and kind.key not in values:
        table = _read_b_values(root / name.relative)
        if table:
            values[kind.key] = table
    if kind.is_spoiled:
        values.setdefault("RepetitionTimeExcitation", values.get("RepetitionTime"))
    for key in dict.fromkeys((kind.key, *(("RepetitionTimeExcitation",) if kind.is_spoiled else ()))):
        if values.get(key) is None:
            where = "neither a .bval file nor a sidecar holds it" if suffix == "dwi" else "no sidecar holds it"
            return quarantine(suffix, f"{key} is missing: {where}", ASK_FOR_VALUES)
    absurd = _find_absurdity(values)
    if absurd:
        return quarantine(suffix, absurd, ASK_FOR_VALUES)
    if suffix == "MESE" and "RefocusingFlipAngle" not in values:
        angle = values.get("FlipAngle")
        if isinstance(angle, (int, float)) and angle >= SMALLEST_REFOCUSING_ANGLE:
            values["RefocusingFlipAngle"] = angle
    numbers = values[kind.key] if isinstance(values[kind.key], list) else [values[kind.key]]
    for index, number in enumerate(numbers):
        if not kind.is_valid(number):
            return quarantine(suffix, f"{kind.key} is {number:g} {kind.unit}", ASK_FOR_VALUES)
        value = round(float(number), VALUE_DIGITS)
        if value in into:
            return quarantine(suffix, f"{kind.noun} {value:g} {kind.unit} has several images", kind.on_repeats)
        one = {key: _pick(entry, index, len(numbers)) for key, entry in values.items() if entry is not None}
        into[value] = Volume(name, index, len(numbers), one)
    return None


def _pick(entry: Any, index: int, count: int) -> Any:
    return entry[index] if isinstance(entry, list) and len(entry) == count else entry


def _find_absurdity(values: dict[str, Any]) -> str:
    for key, axis in JUDGED.items():
        _, least, largest, unit = RANGES[axis]
        entry = values.get(key)
        for number in entry if isinstance(entry, list) else [entry]:
            if number is not None and not least <= number <= largest:
                return f"{key} is {number:g} {unit}: BIDS wants {unit}"
    return ""


def _find_unlike(kind: Convertible, volumes: Collection[Volume]) -> str:
    """Why volumes are of unlike scans; "" where they are alike or their sidecars do not tell."""
    for axis, key in (("repetition_time", "RepetitionTime"), ("echo_time", "EchoTime"), ("flip_angle", "FlipAngle")):
        values = sorted({v.sidecar[key] for v in volumes if isinstance(v.sidecar.get(key), (int, float))})
        if is_constant(kind, axis) and are_unlike(values):
            return f"{key} is {name_ends(values)} {RANGES[axis][3]} in volumes of one set"
    coils = {str(v.sidecar.get("ReceiveCoilName") or "").casefold() for v in volumes} - {""}
    return f"ReceiveCoilName names {len(coils)} coils in volumes of one set" if len(coils) > 1 else ""


def _find_odd(kind: Convertible, volumes: Iterable[Volume]) -> dict[str, str]:
    """What differs between volumes and no fit depends on, by its word."""
    values = {word: [as_number(v.sidecar.get(key)) for v in volumes] for word, key in ODD_KEYS.items()}
    return tell_odd(kind, values)


def _read_b_values(image: Path) -> list[float]:
    path = image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".bval")
    try:
        if path.is_symlink() or path.stat().st_size > LARGEST_TABLE:
            return []
        numbers = [float(word) for word in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []
    return numbers if all(np.isfinite(numbers)) else []


def read_voxels(root: Path, volumes: dict[float, Volume]) -> tuple[dict[float, np.ndarray], np.ndarray]:
    """The voxels of each volume (x, y, z) and the affine that all share; IsocenterError when they do not fit."""
    files: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    taken, affine = {}, None
    for value, volume in volumes.items():
        path = volume.name.relative
        if path not in files:
            files[path] = read_received(root / path)
        voxels, place = files[path]
        series = voxels if voxels.ndim == 4 else voxels[..., np.newaxis]
        if series.shape[3] != volume.count:
            raise IsocenterError(f"An image holds {series.shape[3]} volumes and its sidecar values for {volume.count}")
        taken[value] = series[..., volume.index]
        if affine is None:
            affine, shape = place, series.shape[:3]
        if series.shape[:3] != shape or not np.allclose(place, affine, atol=1e-3):
            raise IsocenterError("The images of one acquisition differ in size or place")
    return taken, affine
