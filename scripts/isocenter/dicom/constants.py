"""What must be the same in all volumes of a set: a fit takes it for one number; and what is odd where it is not."""

from collections.abc import Iterable, Mapping, Sequence

from isocenter.dicom.group import Member, plane_keys
from isocenter.dicom.plausible import RANGES, is_renamed
from isocenter.dicom.suffixes import Convertible

#: Fields of a frame, and how far apart their values may be as a share of the largest: headers round.
CONSTANT, SAME = ("repetition_time", "echo_time", "flip_angle"), 0.01
#: mm. Pixels that differ by less are the same.
SAME_SPACING = 1e-3
#: What noise depends on and the signal does not, by the word that tells of it: field of a frame, its element, its unit.
ODD = {
    "bandwidth": ("bandwidth", "Pixel Bandwidth (0018,0095)", "Hz"),
    "averages": ("averages", "Number of Averages (0018,0083)", ""),
}
#: What all series of a visit share, by the word that tells of it: field of an image, its element, what two of it mean.
ONE_VISIT = {
    "studies": ("study", "Study Instance UID (0020,000D)", "they may be of two visits"),
    "frames": (
        "frame_of_reference",
        "Frame of Reference UID (0020,0052)",
        "the person or phantom may have been moved between them",
    ),
}
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


def find_unlike(kind: Convertible, members: Sequence[Member]) -> str:
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
    coils: dict[tuple, set[str]] = {}
    for member, place in zip(members, plane_keys(members), strict=True):
        coils.setdefault(place, set()).add(member.frame.coil)
    most = max((len(names - {""}) for names in coils.values()), default=0)
    if most > 1:  # slices of a long body have coils of their own; one place seen by two is weighted in two ways
        return f"Receive Coil Name (0018,1250) names {most} coils in images of one place"
    return ""


def is_steady(kind: Convertible, word: str) -> bool:
    """Whether what `ODD` lists is the same in all volumes of a kind of series.

    Large b-values are averaged more often, and each echo of a gradient echo may be read out in its own time.
    """
    return not (word == "averages" and kind.axis == "b_value") and not (word == "bandwidth" and kind.has_phase)


def find_odd(kind: Convertible, members: Sequence[Member]) -> dict[str, str]:
    """What differs between images of one set and no fit depends on: a word of `ODD` or `ONE_VISIT` to what is found."""
    values = {word: [getattr(m.frame, field) for m in members] for word, (field, _, _) in ODD.items()}
    found = tell_odd(kind, values)
    for word, (field, element, meaning) in ONE_VISIT.items():
        uids = [getattr(image, field) for image in {member.image.relative: member.image for member in members}.values()]
        number = len(set(uids) - {""})
        if is_renamed(uids):
            meaning = f"a tool may have renamed each, or {meaning}"
            found[word] = f"{element} has {number} values in {number} images: {meaning}"
        elif number > 1:
            found[word] = f"{element} has {number} values in series of one set: {meaning}"
    return found


def tell_odd(kind: Convertible, values: Mapping[str, Iterable[float | None]]) -> dict[str, str]:
    """The same of the values of `ODD` alone, by their words."""
    found = {}
    for word, numbers in values.items():
        known = sorted({number for number in numbers if number is not None})
        if is_steady(kind, word) and are_unlike(known):
            _, element, unit = ODD[word]
            found[word] = f"{element} is {name_ends(known)}{unit and f' {unit}'} in images of one set"
    return found


def name_ends(values: Sequence[float]) -> str:
    """``2 and 3`` of two values in ascending order, ``2 to 5`` of more."""
    return f"{values[0]:g} {'and' if len(values) == 2 else 'to'} {values[-1]:g}"
