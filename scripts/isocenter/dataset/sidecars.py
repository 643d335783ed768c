"""Sidecars as they arrive: BIDS' inheritance followed, acquisition values kept, everything else left behind."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isocenter.dataset.names import Name
from isocenter.dicom.deidentify import Redactor
from isocenter.dicom.describe import NUMBERS, TEXTS
from isocenter.dicom.privacy import NAMING, PERSONAL, is_nobody
from isocenter.errors import SidecarError, explain

#: No sidecar is larger [bytes]; texts of scanners are short.
LARGEST, LONGEST_TEXT = 2**20, 64
#: What is taken over, by what it must be. Any other key stays behind, whatever it is called.
_NUMBERS = (
    *NUMBERS, "RepetitionTime", "RepetitionTimeExcitation", "EchoTime", "EchoTime1", "EchoTime2", "FlipAngle",
    "RefocusingFlipAngle", "InversionTime", "DiffusionBValue", "FrameTimesStart", "TotalReadoutTime",
    "EffectiveEchoSpacing", "SaturationValue", "BitsStored",
)  # fmt: skip
_TEXTS = ("Manufacturer", *TEXTS, "ReceiveCoilActiveElements")
_FLAGS = ("NonlinearGradientCorrection", "IntensityNormalization")
_WORDS = {
    "PhaseEncodingDirection": ("i", "i-", "j", "j-", "k", "k-"),
    "Units": ("rad", "arbitrary"),
    "NonlinearGradientCorrectionKind": ("none", "2D", "3D"),
}


@dataclass(frozen=True)
class Sidecar:
    """What a file's sidecars say. values : those taken over; names : keys that told who a person is."""

    values: dict[str, Any]
    names: str


def read_received_sidecar(root: Path, name: Name) -> Sidecar:
    """The sidecar of a file of the dataset `root`, with what stands in the folders above (BIDS' inheritance).

    Raises SidecarError when one of them is no JSON object.
    """
    merged: dict[str, Any] = {}
    folder = root
    for part in ("", *name.relative.split("/")[:-1]):
        folder = folder / part
        for path in sorted(folder.glob("*.json")):
            if _applies(path.name, name):
                merged |= _read(path)
    told = {key: str(merged[key]).strip() for key in PERSONAL if isinstance(merged.get(key), (str, int))}
    redactor = Redactor(text for text in told.values() if text)
    names = sorted(key for key in NAMING if told.get(key) and not is_nobody(told[key], told.get("PatientID", "")))
    kept = {key: value for key in merged if (value := _take(key, merged[key], redactor)) is not None}
    return Sidecar(kept, " ".join(names))


def _applies(file: str, name: Name) -> bool:
    *entities, suffix = file.removesuffix(".json").split("_")
    return suffix == name.suffix and set(entities) <= {"-".join(pair) for pair in name.entities}


def _read(path: Path) -> dict[str, Any]:
    what = "A sidecar cannot be read"
    if path.is_symlink() or not path.is_file():
        raise SidecarError(explain(what, found="a link, or no plain file", remedy="send the file itself"))
    if path.stat().st_size > LARGEST:
        raise SidecarError(explain(what, expected=f"at most {LARGEST} bytes", found=path.stat().st_size))
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SidecarError(explain(what, expected="JSON in UTF-8", found=type(error).__name__)) from None
    if not isinstance(content, dict):
        raise SidecarError(explain(what, expected="a JSON object", found=type(content).__name__))
    return content


def _take(key: str, value: Any, redactor: Redactor) -> Any:
    """A value as it may be taken over; None for what may not."""
    if key in _NUMBERS:
        if isinstance(value, list) and value and all(map(_is_number, value)):
            return value
        return value if _is_number(value) else None
    if key in _FLAGS:
        return value if isinstance(value, bool) else None
    if key in _WORDS:
        return value if value in _WORDS[key] else None
    if key in _TEXTS:
        if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            value = "\\".join(value)
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
            return None
        return value if key == "DeviceSerialNumber" else redactor.redact(value)
    return None


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15 and math.isfinite(value)
    )
