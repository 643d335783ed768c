"""Gradient echoes of one echo time, told apart by what varies: flip angles, repetition times, or time alone.

One such image says nothing: it may be a localizer, a picture of the anatomy, or one flip angle of a T1 series. Several
of the same place, matrix, TR and TE that differ in the flip angle are a T1 series, or a B1 map of two angles:

- two angles, one twice the other, with time to recover between excitations or an angle beyond any T1 series: TB1DAM;
- any other flip angles: VFA;
- two repetition times of one series in turn: TB1AFI;
- one flip angle, each place many times over: DCE.

What tags cannot tell, a rule of the site does (`site_rules`).
"""

from isocenter.dicom.group import Member, Series, plane_keys, split_families
from isocenter.dicom.recognition import Recognition, quarantine
from isocenter.dicom.suffixes import SUFFIXES

#: From this repetition time [s] on the magnetization recovers: no spoiled steady state is meant.
RECOVERY_TIME = 0.5
#: No T1 series has an angle as large as this [deg].
LARGE_ANGLE = 90.0
#: How far from two the ratio of two angles may be that are meant as a pair.
RATIO_TOLERANCE = 0.01


def recognize_families(candidates: list[Series]) -> dict[str, Recognition]:
    """What each of the gradient echoes is for, by series UID; those that stay unexplained are left out.

    candidates : gradient echoes of one echo time that their own tags gave no suffix
    """
    visits: dict[tuple, list[Series]] = {}
    found: dict[str, Recognition] = {}
    for one in candidates:
        suffix = _recognize_alone(one)
        if suffix:
            found[one.uid] = check_values(suffix, one) or Recognition(suffix, reason=SUFFIXES[suffix].title)
        else:
            visits.setdefault((tuple(sorted(one.patients)), one.description.date), []).append(one)
    for visit in visits.values():
        for family in split_families(visit):
            found |= _recognize_flip_angles(family)
    return found


def check_values(suffix: str, one: Series) -> Recognition | None:
    """Quarantined where the header lacks what the signal depends on."""
    kind, members = SUFFIXES[suffix], one.members(with_damaged=True)
    fields = {kind.axis: kind.tag}
    if kind.is_spoiled:
        fields |= {"flip_angle": "Flip Angle (0018,1314)", "repetition_time": "Repetition Time (0018,0080)"}
    for field, tag in fields.items():
        n_missing = sum(not _is_there(getattr(m.frame, field), field, suffix) for m in members)
        if n_missing:
            where = "" if n_missing == len(members) else f" in {n_missing} of {len(members)} images"
            return quarantine(
                suffix,
                f"{kind.title}, but {tag} is missing{where}",
                "Ask the site to send the series with this value; it is never guessed",
            )
    if kind.is_time and len({m.frame.frame_time for m in members}) < kind.fewest:
        return quarantine(
            suffix,
            f"{kind.title}, but all images have the same {kind.tag}",
            "Ask the site to send the series with the time of each image; it is never guessed",
        )
    return None


def _is_there(value: float | None, field: str, suffix: str) -> bool:
    kind = SUFFIXES[suffix]
    return kind.is_valid(value) if field == kind.axis else value is not None and value > 0


def _recognize_alone(one: Series) -> str:
    """The suffix of a series that needs no neighbor, "" where it does."""
    members = one.members(with_damaged=True)
    angles, times = _distinct(members, "flip_angle"), _distinct(members, "repetition_time")
    if len(times) == 2 and len(angles) == 1:
        return "TB1AFI"
    placed = plane_keys([m for m in members if m.frame.position])
    n_times = len(placed) / max(len(set(placed)), 1)
    # The phases of a beating heart are many images of a place too, but not one after the other.
    is_dynamic = n_times >= SUFFIXES["DCE"].fewest and not one.description.is_gated
    return "DCE" if is_dynamic and len(angles) <= 1 and len(times) <= 1 else ""


def _recognize_flip_angles(family: list[Series]) -> dict[str, Recognition]:
    members = [m for one in family for m in one.members(with_damaged=True)]
    angles = sorted(_distinct(members, "flip_angle"))
    is_3d = all(one.description.is_3d for one in family)
    is_within = any(len(_distinct(one.members(), "flip_angle")) > 1 for one in family)
    if _is_double_angle(angles, _distinct(members, "repetition_time")):
        suffix, reason = "TB1DAM", "One of two flip angles of a B1 map"
    # Slices of one place with unlike angles are pictures of anatomy too; a T1 series is 3D, or one series of them all.
    elif len(angles) >= SUFFIXES["VFA"].fewest and (is_3d or is_within):
        suffix, reason = "VFA", f"One of {len(angles)} flip angles of a T1 series"
    else:
        return {}
    return {one.uid: check_values(suffix, one) or Recognition(suffix, reason=reason) for one in family}


def _is_double_angle(angles: list[float], times: set[float]) -> bool:
    if len(angles) != 2 or abs(angles[1] / angles[0] - 2.0) > RATIO_TOLERANCE:
        return False
    return angles[1] >= LARGE_ANGLE or min(times, default=0.0) >= RECOVERY_TIME


def _distinct(members: list[Member], field: str) -> set[float]:
    return {getattr(m.frame, field) for m in members} - {None}
