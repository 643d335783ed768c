"""Gradient echoes that only their neighbors explain: flip angles, spread over several series or held by one.

One gradient echo alone says nothing: it may be a localizer, a picture of the anatomy, or one flip angle of a T1
series. Several of the same place, matrix, TR and TE that differ in the flip angle are a T1 series.
"""

from isocenter.dicom.group import Series, split_families
from isocenter.dicom.recognition import Recognition, quarantine
from isocenter.dicom.suffixes import SUFFIXES


def recognize_families(candidates: list[Series]) -> dict[str, Recognition]:
    """What each of the gradient echoes is for, by series UID; those that stay unexplained are left out.

    candidates : gradient echoes of one echo time that their own tags gave no suffix
    """
    visits: dict[tuple, list[Series]] = {}
    for one in candidates:
        visits.setdefault((tuple(sorted(one.patients)), one.description.date), []).append(one)
    found: dict[str, Recognition] = {}
    for visit in visits.values():
        for family in split_families(visit):
            found |= _recognize_flip_angles(family)
    return found


def _recognize_flip_angles(family: list[Series]) -> dict[str, Recognition]:
    angles = {m.frame.flip_angle for one in family for m in one.members(with_damaged=True)} - {None}
    is_3d = all(one.description.is_3d for one in family)
    is_within = any(len({m.frame.flip_angle for m in one.members()} - {None}) > 1 for one in family)
    # Slices of one place with unlike angles are pictures of anatomy too; a T1 series is 3D, or one series of them all.
    if len(angles) < SUFFIXES["VFA"].fewest or not (is_3d or is_within):
        return {}
    return {one.uid: _check_timing("VFA", one) or Recognition("VFA", reason=_flip_words(angles)) for one in family}


def _flip_words(angles: set[float]) -> str:
    return f"One of {len(angles)} flip angles of a T1 series"


def _check_timing(suffix: str, one: Series) -> Recognition | None:
    """Quarantined where the header lacks what the signal depends on."""
    members = one.members(with_damaged=True)
    for field, tag in (("flip_angle", "Flip Angle (0018,1314)"), ("repetition_time", "Repetition Time (0018,0080)")):
        n_missing = sum(not (getattr(m.frame, field) or 0) > 0 for m in members)
        if n_missing:
            where = "" if n_missing == len(members) else f" in {n_missing} of {len(members)} images"
            return quarantine(
                suffix,
                f"{SUFFIXES[suffix].title}, but {tag} is missing{where}",
                f"Ask the site to send the series with its {tag.split(' (')[0].lower()}; it is never guessed",
            )
    return None
