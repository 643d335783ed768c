"""Images that are not what their headers say: cut short and filled up, or the copy of another; found by their voxels.

A header can be whole where the image behind it is not. Only the other images of the set tell.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from isocenter.dicom.suffixes import Convertible
from isocenter.errors import DicomError, explain

#: How much of an image must be of one value, from its first or last row on. Corrections of motion and of the gradients'
#: nonlinearity leave fewer empty rows at an edge.
SMALLEST_CUT = 0.1
#: There is signal where an image is at least this share of what its volume is on average, air and all.
SIGNAL = 0.5
SEND_AGAIN = "send the series again whole from the scanner or the picture archive"

#: A slice's voxels in few bytes; none of an image of one value, which stands for nothing.
Print = bytes


def print_slices(voxels: np.ndarray) -> tuple[Print, ...]:
    """What tells the slices of a volume (x, y, z) apart by their voxels alone."""
    slices = np.ascontiguousarray(np.moveaxis(voxels, 2, 0))
    return tuple(
        b"" if one.min() == one.max() else hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in slices
    )


def check_copies(kind: Convertible, prints: Mapping[float, Sequence[Print]]) -> None:
    """Raise DicomError where two images of a set hold the same pixels: noise never repeats itself.

    Slices that are alike in all volumes in the same way are an object that was computed without noise: an upload copies
    an image here and there.

    prints : by acquisition value, a volume's slices in their order. Frames of a dynamic series are not held against
    one another: a scanner may repeat one.
    """
    if len(prints) > 1 and len({_find_alike(slices) for slices in prints.values()}) == 1:
        prints = {
            value: [known if slices.index(known) == place else b"" for place, known in enumerate(slices)]
            for value, slices in prints.items()
        }
    first: dict[tuple, tuple[float, int]] = {}
    copies: list[str] = []
    for value, slices in prints.items():
        for place, known in enumerate(slices, start=1):
            if not known:
                continue
            other = first.setdefault((known, value if kind.is_time else None), (value, place))
            if other != (value, place):
                copies.append(f"{_name(kind, value, place)} and {_name(kind, *other)}")
    _refuse(
        "Images of the series hold the same pixels",
        "an image of its own at each place and value: no noise repeats itself",
        copies,
    )


def _find_alike(slices: Sequence[Print]) -> tuple[int, ...]:
    """By slice the number (from 0) of the first one like it."""
    return tuple(slices.index(known) for known in slices)


def check_cuts(kind: Convertible, volumes: Mapping[float, np.ndarray]) -> None:
    """Raise DicomError where an image ends in empty rows, and most others of its place hold signal there.

    volumes : by acquisition value, (x, y, z) arrays of one shape. An empty image is one that ends at its first row.
    Empty rows that most images of a place share are a scanner's mask.
    """
    if len(volumes) < 2:
        return
    means = {value: SIGNAL * float(voxels.mean()) for value, voxels in volumes.items()}
    cuts = []
    for value, voxels in volumes.items():
        for place, rows in _find_empty_rows(voxels):
            held = [
                other[:, rows, place].mean() >= means[w] > 0 and not _is_of_one_value(other[:, rows, place])
                for w, other in volumes.items()
                if w != value
            ]
            if 2 * sum(held) > len(held):
                count = rows.stop - rows.start
                cuts.append(f"{count} of {voxels.shape[1]} rows in {_name(kind, value, place + 1)}")
    _refuse(
        "Images of the series end in empty rows, where most others of their place hold signal",
        "images that were written whole",
        cuts,
    )


def _refuse(what: str, expected: str, found: Sequence[str]) -> None:
    """Raise DicomError with the first three of what was found, and the number of the others; nothing found, nothing."""
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise DicomError(explain(what, expected=expected, found="; ".join(found[:3]) + more, remedy=SEND_AGAIN))


def _find_empty_rows(voxels: np.ndarray) -> list[tuple[int, slice]]:
    """Slices (from 0) of a volume that begin or end in rows of its least value, with these rows: the longer run.

    What is missing is filled up with zeros; rows at the ceiling are bright.
    """
    number = voxels.shape[1]
    is_empty = voxels.max(axis=0) == voxels.min()  # (y, z)
    fewest = max(2, round(SMALLEST_CUT * number))
    found = []
    for place in range(voxels.shape[2]):
        runs = [_count_run(is_empty[::step, place]) for step in (1, -1)]
        longest = max(runs)
        if longest >= fewest:
            found.append((place, slice(0, longest) if runs[0] == longest else slice(number - longest, number)))
    return found


def _count_run(is_empty: np.ndarray) -> int:
    """How many rows from the first on are empty."""
    return len(is_empty) if is_empty.all() else int(is_empty.argmin())


def _is_of_one_value(voxels: np.ndarray) -> bool:
    return bool(voxels.min() == voxels.max())


def _name(kind: Convertible, value: float, place: int) -> str:
    return f"slice {place} of {kind.noun} {value:g} {kind.unit}"
