"""Single values out of DICOM headers that may be absent, empty, doubled or wrong."""

import math
import struct
from typing import Any, Protocol

from pydicom.multival import MultiValue

#: A position [mm] or direction beyond this is damage, and would overflow what is computed from it.
LARGEST = 1e6


class Header(Protocol):
    """What values are read from: a pydicom Dataset, or one frame of an enhanced one."""

    def get(self, key: Any, default: Any = None) -> Any:
        """The value behind a keyword, or the element behind a (group, element) tag."""


def read_number(header: Header, keyword: str) -> float | None:
    """The first finite number of an element; None when it is absent, empty or no number."""
    return as_number(header.get(keyword))


def as_number(value: Any) -> float | None:
    """A finite float from whatever an element held, else None."""
    value = getattr(value, "value", value)
    if isinstance(value, bytes) and len(value) in (4, 8):  # a private element whose VR was lost on the way
        value = struct.unpack("<f" if len(value) == 4 else "<d", value)[0]
    if not isinstance(value, (str, bytes, int, float)) and hasattr(value, "__len__"):
        value = value[0] if len(value) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def read_numbers(header: Header, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` numbers of an element, none beyond `LARGEST`, else None."""
    value = header.get(keyword)
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(abs(number) <= LARGEST for number in numbers) else None


def read_text(header: Header, keyword: str) -> str:
    """The text of an element without padding, "" when absent."""
    value = header.get(keyword)
    if value is None:
        return ""
    if isinstance(value, (list, tuple, MultiValue)):  # a person's name has a length too, and is one value
        value = "\\".join(str(v) for v in value)
    return str(value).strip().strip("\0").strip()


def read_words(header: Header, keyword: str) -> tuple[str, ...]:
    """The values of a multi-valued code string, upper case, without empties."""
    return tuple(word.strip().upper() for word in read_text(header, keyword).split("\\") if word.strip())


def read_private(header: Header, group: int, creator: str, element: int) -> float | None:
    """A number in a vendor's private element, found by its creator, or at its usual place when that is lost."""
    return as_number(find_private(header, group, creator, element))


def read_private_count(header: Header, group: int, creator: str, element: int) -> float | None:
    """The first of whole numbers that a vendor writes as text (VR IS) in a private element.

    Where the VR was lost on the way it comes as bytes, and four digits must not be taken for the bytes of a float.
    """
    found = find_private(header, group, creator, element)
    value = getattr(found, "value", found)
    if isinstance(value, (bytes, str)):
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
        return as_number(text.split("\\")[0].strip(" \0"))
    return as_number(value)


def find_private(header: Header, group: int, creator: str, element: int) -> Any:
    """A vendor's private element, found by its creator, or at its usual place when that is lost; None when absent."""
    block = 0x10
    for candidate in range(0x10, 0x20):
        found = header.get((group, candidate))
        if found is not None and str(getattr(found, "value", found)).strip() == creator:
            block = candidate
            break
    return header.get((group, block << 8 | element))


def read_clock(header: Header, keywords: tuple[str, ...]) -> float | None:
    """The time of day [s after midnight] of the first element that tells one; dates are left out."""
    for keyword in keywords:
        text = read_text(header, keyword).replace(":", "")
        text = text[8:] if keyword.endswith("DateTime") else text
        if len(text) >= 4 and text[:4].isdigit():
            seconds = as_seconds(text)
            if seconds is not None:
                return seconds
    return None


def as_seconds(text: str) -> float | None:
    """A DICOM time ``HHMMSS.FFFFFF`` [s after midnight]."""
    digits = text.split("+")[0].split("-")[0]
    try:
        seconds = int(digits[:2]) * 3600.0 + int(digits[2:4]) * 60.0 + float(digits[4:] or 0)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
