"""Series that show the images of another under new UIDs: copies, corrections, or a contradiction."""

from dataclasses import dataclass

from isocenter.dicom.arrivals import Arrivals
from isocenter.dicom.group import Series, plane_keys
from isocenter.dicom.recognition import Recognition, ignore, quarantine
from isocenter.entities import Disposition

ASK_WHICH = "Ask the site which of the two series is right, and remove the other"


@dataclass(frozen=True)
class Copy:
    """What a series is to another. kept : the UID of the series to use, "" when neither can be."""

    kept: str
    other: str
    is_correction: bool = False

    def judge(self, known: Recognition) -> Recognition:
        """The outcome of the series; what is ignored anyway stays as it is."""
        if not self.kept:
            if known.disposition is Disposition.IGNORED:
                return known
            reason = f"The images of series {self.other} under new UIDs, with other values in the header"
            return quarantine(known.suffix, reason, ASK_WHICH)
        if self.is_correction:
            reason = f"Superseded: its images arrived again with corrected headers as series {self.kept}"
            return ignore(known.suffix, reason, "Nothing: the later series is used")
        reason = f"A second copy of the images of series {self.kept}, under new UIDs"
        return ignore(known.suffix, reason, "Nothing: the first copy is used")


def find_copies(series: list[Series], arrivals: Arrivals | None = None) -> dict[str, Copy]:
    """Series that repeat another's images under new UIDs: their UID to what they are to it.

    The same pixels (sum, minimum, maximum of every plane) at the same time of day are not two scans. Where patient,
    date and acquisition values agree the first one is kept; where they do not, the one that arrived in a later run.
    """
    arrivals = arrivals or Arrivals()
    groups: dict[tuple, list[Series]] = {}
    for one in series:
        planes = sorted(
            (f.total, f.minimum, f.maximum) for image in one.images for f in image.frames if f.total is not None
        )
        if any(least != largest for _, least, largest in planes):
            groups.setdefault((one.time, tuple(planes)), []).append(one)
    copies: dict[str, Copy] = {}
    for members in groups.values():
        unlike: dict[tuple, list[Series]] = {}
        for one in members:
            unlike.setdefault(_values(one), []).append(one)
        firsts = [alike[0] for alike in unlike.values()]
        for alike in unlike.values():
            copies |= {one.uid: Copy(alike[0].uid, alike[0].uid) for one in alike[1:]}
        if len(firsts) > 1:
            copies |= _judge_unlike(firsts, arrivals)
    return copies


def _judge_unlike(firsts: list[Series], arrivals: Arrivals) -> dict[str, Copy]:
    runs = {one.uid: max((arrivals.batch(image) for image in one.images), default=0) for one in firsts}
    latest = [uid for uid, run in runs.items() if run == max(runs.values())]
    if len(latest) == 1:
        return {one.uid: Copy(latest[0], latest[0], is_correction=True) for one in firsts if one.uid != latest[0]}
    return {one.uid: Copy("", next(o.uid for o in firsts if o is not one)) for one in firsts}


def _values(one: Series) -> tuple:
    """What a corrected header may say otherwise: patient, date, and values and place of each plane."""
    planes = [
        (f.total, f.minimum, f.maximum, f.inversion_time, f.echo_time, f.repetition_time, f.flip_angle, f.b_value,
         f.orientation, plane_keys([member])[0] if f.position else None, f.slope, f.intercept)
        for member in one.members(with_damaged=False) for f in [member.frame]
    ]  # fmt: skip
    return (one.description.date, tuple(sorted(one.patients)), tuple(sorted(planes, key=repr)))
