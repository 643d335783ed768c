"""What must be the same in all volumes of a set: a fit takes it for one number."""

from collections.abc import Iterable, Sequence

from isocenter.dicom.group import Member
from isocenter.dicom.plausible import RANGES
from isocenter.dicom.suffixes import Convertible

#: Fields of a frame, and how far apart their values may be as a share of the largest: headers round.
CONSTANT, SAME = ("repetition_time", "echo_time", "flip_angle"), 0.01
#: mm. Pixels that differ by less are the same.
SAME_SPACING = 1e-3
ASK_WHICH = "Ask the site whether the images belong together, and send each scan as a series of its own"


def is_constant(kind: Convertible, field: str) -> bool:
    """Whether a field of `CONSTANT` is the same in all volumes of a kind of series.

    Where the heart sets the times of a scan its repetition time is none, and fits of spoiled gradient echoes know that
    of each image.
    """
    return field != kind.axis and not (field == "repetition_time" and (kind.is_gated or kind.is_spoiled))


def are_unlike(values: Sequence[float]) -> bool:
    """Whether values in ascending order differ by more than rounding."""
    return bool(values) and values[-1] - values[0] > SAME * values[-1]


def find_unlike(kind: Convertible, members: Iterable[Member]) -> str:
    """Why images are of unlike scans, naming the element; "" where they are alike."""
    frames = [member.frame for member in members]
    for field in CONSTANT:
        values = sorted({value for frame in frames if (value := getattr(frame, field)) is not None})
        if is_constant(kind, field) and are_unlike(values):
            element, _, _, unit = RANGES[field]
            return f"{element} is {name_ends(values)} {unit} in images of one set"
    for axis, name in ((0, "between rows"), (1, "between columns")):
        steps = sorted({frame.spacing[axis] for frame in frames if frame.spacing})
        if steps and steps[-1] - steps[0] > SAME_SPACING:
            return f"Pixel Spacing (0028,0030) {name} is {name_ends(steps)} mm in images of one set"
    return ""


def name_ends(values: Sequence[float]) -> str:
    """``2 and 3`` of two values in ascending order, ``2 to 5`` of more."""
    return f"{values[0]:g} {'and' if len(values) == 2 else 'to'} {values[-1]:g}"
