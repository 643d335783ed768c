"""Series become acquisition sets: the volumes that one map is fitted from, in one series or spread over many."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median_low

from isocenter.dicom.constants import ASK_WHICH, find_odd, find_unlike
from isocenter.dicom.group import Member, Series, acquisition_key, plane_keys, split_families
from isocenter.dicom.pixels import name_syntax
from isocenter.dicom.plausible import COSINE_TOLERANCE
from isocenter.dicom.recognize import NOT_NEEDED, Recognition
from isocenter.dicom.suffixes import SUFFIXES, Convertible
from isocenter.entities import Disposition

#: Values that agree to this many digits (times [s] to a microsecond) are the same.
VALUE_DIGITS = 6
#: How far planes of a stack may be out of step: headers round positions [mm] and directions.
GAP_TOLERANCE, GAP_SHARE = 0.1, 0.02
#: Seconds.
DAY = 86_400.0
SEND_PRIVATE = "Send the series again with its private elements"
SEND_WHOLE = "Send the series again whole from the scanner or the picture archive"


@dataclass
class AcquisitionSet:
    """What one map is made from: series in order of time, each with its outcome.

    volumes : acquisition value (a time [s], a b-value [s/mm²]) → the planes of that volume, sorted along the slice
        normal; empty when unusable
    phases : the same for phase images in radians; empty unless every volume has them, or there is one of their
        difference, which then stands at the later echo
    difference_of : the echo times [s] that a phase is the difference of; empty where it is none
    files : acquisition value → the BIDS path of the converted volume (of its magnitude)
    warnings : words of `constants.find_odd`
    """

    suffix: str
    series: list[Series]
    outcomes: dict[str, Recognition]
    volumes: dict[float, list[Member]] = field(default_factory=dict)
    phases: dict[float, list[Member]] = field(default_factory=dict)
    difference_of: tuple[float, ...] = ()
    files: dict[float, str] = field(default_factory=dict)
    note: str = ""
    warnings: tuple[str, ...] = ()
    participant: str = ""
    session: str = ""
    run: str = ""
    part: str = "mag"

    @property
    def kind(self) -> Convertible:
        """What is known of every series of this suffix."""
        return SUFFIXES[self.suffix]

    @property
    def time(self) -> float:
        """Time of day of its first image [s after midnight]."""
        return min(series.time for series in self.series)

    @property
    def used(self) -> list[Series]:
        """The series that the map is made from."""
        return [s for s in self.series if self.outcomes[s.uid].disposition is Disposition.USED]

    def reject(self, disposition: Disposition, reason: str, action: str) -> None:
        """Give every series that was to be used the same outcome."""
        for series in self.used:
            self.outcomes[series.uid] = Recognition(self.suffix, disposition, reason, action)
        self.volumes, self.phases = {}, {}


def value_of(suffix: str, member: Member) -> float | None:
    """What varies over a set of this suffix: a time [s], a b-value [s/mm²]."""
    return getattr(member.frame, SUFFIXES[suffix].axis)


def form_sets(series: list[Series], recognized: dict[str, Recognition]) -> list[AcquisitionSet]:
    """Sets of one participant's session, sorted by time; series without a suffix to convert are left out."""
    sets: list[AcquisitionSet] = []
    alike: dict[tuple, list[Series]] = {}
    _prefer_trace(series, recognized)
    for one in series:
        suffix = recognized[one.uid].suffix
        if suffix not in SUFFIXES or recognized[one.uid].disposition is Disposition.IGNORED:
            continue
        if SUFFIXES[suffix].may_spread:
            # A spoiled gradient echo without its TR is quarantined, yet belongs to the run of its neighbors.
            key = () if SUFFIXES[suffix].is_spoiled else acquisition_key(one)
            alike.setdefault((suffix, *key), []).append(one)
        else:
            sets.append(AcquisitionSet(suffix, [one], {one.uid: recognized[one.uid]}))
    for (suffix, *_), members in alike.items():
        for family in _split_alike(suffix, members):
            sets += _split_runs(suffix, sorted(family, key=lambda s: (s.time, s.uid)), recognized)
    sets = _join_phases(sets)
    for one in sets:
        _fill_volumes(one)
        _fill_phases(one)
    return sorted(sets, key=lambda s: (s.time, s.series[0].uid))


def _split_alike(suffix: str, members: list[Series]) -> list[list[Series]]:
    """Series of one kind by what must not vary between them."""
    kind = SUFFIXES[suffix]
    if not kind.is_spoiled:
        return [members]
    if kind.axis != "repetition_time":
        return split_families(members)
    alike: dict[tuple, list[Series]] = {}
    for one in members:
        key = acquisition_key(one)
        alike.setdefault((*key[:-2], key[-1]), []).append(one)
    return list(alike.values())


def _join_phases(sets: list[AcquisitionSet]) -> list[AcquisitionSet]:
    """Series of phase alone join the set of their magnitude: the same echoes and planes, scanned at the same time."""
    alone = [one for one in sets if one.kind.has_phase and not one.series[0].members() and one.series[0].members("P")]
    whole = [one for one in sets if one not in alone]
    for one in alone:
        part = one.series[0]
        partners = [other for other in whole if other.kind.has_phase and _is_phase_of(part, one.suffix, other)]
        nearest = min(partners, key=lambda other: abs(other.time - part.time), default=None)
        if nearest is not None and len(nearest.series) == 1:
            nearest.series.append(part)
            nearest.outcomes[part.uid] = one.outcomes[part.uid]
        else:
            one.reject(Disposition.IGNORED, "Phase images without magnitude", NOT_NEEDED)
            whole.append(one)
    return whole


def _is_phase_of(part: Series, suffix: str, whole: AcquisitionSet) -> bool:
    """Whether the phase images of a series are those of a set, or the difference of its echoes."""
    *phase, values = _layout_of(suffix, part, "P")
    *magnitude, echoes = _layout_of(whole.suffix, whole.series[0], "M")
    if part.description.is_field_map and len(values) == 1 and whole.kind.is_field_map:
        return phase == magnitude and values == {max(echoes)}
    return phase == magnitude and values == echoes


def _layout_of(suffix: str, series: Series, component: str) -> tuple:
    """What magnitude and phase of one scan share: size of the images, planes and values."""
    members = series.members(component)
    return (
        {(m.image.n_rows, m.image.n_columns) for m in members},
        set(plane_keys(members)) if all(m.frame.position for m in members) else None,
        {value_of(suffix, m) for m in members},
    )


def _prefer_trace(series: list[Series], recognized: dict[str, Recognition]) -> None:
    """Where the scanner's trace images of a visit arrived, the single directions they were made from are ignored."""
    diffusion = [one for one in series if recognized[one.uid].suffix == "dwi"]
    if any(one.description.is_trace for one in diffusion):
        for one in diffusion:
            places = Counter((m.frame.b_value, *plane_keys([m])) for m in one.members() if m.frame.position)
            if not one.description.is_trace and max(places.values(), default=0) > 1:
                recognized[one.uid] = Recognition(
                    "dwi",
                    Disposition.IGNORED,
                    "Single directions of a diffusion scan; its trace images arrived too and are used",
                    NOT_NEEDED,
                )


def _split_runs(suffix: str, family: list[Series], recognized: dict[str, Recognition]) -> list[AcquisitionSet]:
    """One set per run: a series with many values is a run; series with one each fill runs in order of time."""
    kind = SUFFIXES[suffix]
    sets, single = [], []
    for one in family:
        if len(_values(suffix, one)) > 1:
            sets.append(AcquisitionSet(suffix, [one], {one.uid: recognized[one.uid]}))
        else:
            single.append(one)
    values = {one.uid: next(iter(_values(suffix, one)), None) for one in single}
    known = [value for value in values.values() if value is not None]
    n_runs = median_low([known.count(value) for value in set(known)]) if known else 1
    outcomes = {one.uid: recognized[one.uid] for one in single}
    if n_runs == 1:
        # A value that was scanned again replaces the first try: somebody saw a reason to repeat it.
        latest = {values[one.uid]: one.uid for one in single if values[one.uid] is not None}
        for one in single:
            value = values[one.uid]
            if value is not None and latest[value] != one.uid:
                outcomes[one.uid] = Recognition(
                    suffix,
                    Disposition.IGNORED,
                    f"{_name(kind)} {value:g} {kind.unit} was scanned again later in the session; the later scan is "
                    "used",
                    "Nothing, unless the later scan is the worse one",
                )
        is_fit = len(set(known)) >= kind.fewest
        runs = _part_unknown(single, values, len(set(known))) if is_fit else [single] if single else []
    else:
        runs = _fill_runs(single, values, len(set(known)))
    for run in runs:
        sets.append(AcquisitionSet(suffix, run, {one.uid: outcomes[one.uid] for one in run}))
    return sets


def _part_unknown(single: list[Series], values: dict[str, float | None], n_values: int) -> list[list[Series]]:
    """The one run whose values are known, and whole runs without any before and after it, which keep their number."""
    known = [i for i, one in enumerate(single) if values[one.uid] is not None]
    before, after = known[0], len(single) - known[-1] - 1
    first = before - before % n_values
    last = known[-1] + 1 + (after % n_values if after >= n_values else after)
    starts = [*range(0, first, n_values), first, *range(last, len(single), n_values)]
    return [single[a:b] for a, b in pairwise([*starts, len(single)])]


def _fill_runs(single: list[Series], values: dict[str, float | None], n_values: int) -> list[list[Series]]:
    """Start a new run when a value comes a second time. One without a value joins the run it falls into."""
    runs: list[list[Series]] = [[]]
    for one in single:
        value = values[one.uid]
        present = {values[s.uid] for s in runs[-1]}
        is_full = len(present - {None}) == n_values or len(runs[-1]) >= n_values
        # A run without any value ends when it is as long as the others are.
        if is_full if value is None or present == {None} else value in present:
            runs.append([])
        runs[-1].append(one)
    return runs


def _fill_volumes(one: AcquisitionSet) -> None:
    """Sort the planes of the used series into volumes; what is incomplete is quarantined, too little is ignored."""
    bad = [s for s in one.series if one.outcomes[s.uid].disposition is Disposition.QUARANTINED]
    if bad and one.used:
        one.note = f"{len(bad)} of the {len(one.series)} series of this set could not be used"
    volumes: dict[float, list[Member]] = {}
    for series in one.used:
        members = series.members()
        values = frame_starts(members) if one.kind.is_time else [value_of(one.suffix, member) for member in members]
        for member, value in zip(members, values, strict=True):
            volumes.setdefault(round(value or 0.0, VALUE_DIGITS), []).append(member)
    if not volumes:
        return
    kind, name = one.kind, _name(one.kind)
    if len(volumes) < kind.fewest:
        reason = f"{len(volumes)} {kind.noun}{'' if len(volumes) == 1 else 's'} in the set: a fit needs {kind.fewest}"
        if kind.is_spoiled:  # it was told by its several values: some of them could not be used
            one.reject(Disposition.QUARANTINED, reason, SEND_WHOLE)
        else:
            one.reject(Disposition.IGNORED, reason, NOT_NEEDED)
        return
    planes = {value: plane_keys(members) for value, members in volumes.items()}
    whole = set().union(*planes.values())
    for value in sorted(volumes):
        if set(planes[value]) != whole:
            one.reject(
                Disposition.QUARANTINED,
                f"{name} {value:g} {kind.unit} has {len(set(planes[value]))} of {len(whole)} slices",
                SEND_WHOLE,
            )
            return
        if len(planes[value]) != len(whole):
            one.reject(
                Disposition.QUARANTINED,
                f"{name} {value:g} {kind.unit} has {len(planes[value])} images for {len(whole)} slices",
                kind.on_repeats,
            )
            return
    shapes = {(m.image.n_rows, m.image.n_columns) for members in volumes.values() for m in members}
    if len(shapes) > 1:
        one.reject(Disposition.QUARANTINED, f"Images of unlike size stand in one set: {sorted(shapes)}", SEND_WHOLE)
        return
    disorder = find_disorder(next(iter(volumes.values())), [m for members in volumes.values() for m in members])
    if disorder:
        one.reject(Disposition.QUARANTINED, disorder, SEND_WHOLE)
        return
    unlike = find_unlike(kind, [m for members in volumes.values() for m in members])
    if unlike:
        one.reject(Disposition.QUARANTINED, unlike, ASK_WHICH)
        return
    odd = find_odd(kind, [m for members in volumes.values() for m in members])
    one.warnings = tuple(odd)
    if odd and not one.note:
        one.note = f"Used, but {'; '.join(odd.values())}"
    n_missing = sum(series.n_missing for series in one.used)
    if n_missing and not one.note:
        images = "image seems" if n_missing == 1 else "images seem"
        one.note = (
            f"Used, but {n_missing} {images} to be missing: Instance Number (0020,0013) has gaps or begins after 1, "
            "or Images in Acquisition (0020,1002) tells more"
        )
    unscaled = _find_unscaled(one, [m for members in volumes.values() for m in members])
    if unscaled:
        one.reject(Disposition.QUARANTINED, unscaled, SEND_PRIVATE)
        return
    one.volumes = {value: sorted(volumes[value], key=slice_position) for value in sorted(volumes)}
    unread = {m.image.syntax for members in volumes.values() for m in members if m.frame.total is None}
    flat = sum(series.n_flat for series in one.used)
    if flat and not one.note:
        verb = "holds" if flat == 1 else "hold"
        one.note = f"Used, but {flat} of its images {verb} one value in all pixels: look at the scanner"
    if unread and not one.note:
        names = ", ".join(map(name_syntax, sorted(unread)))
        one.note = f"Converted without a second look at the pixels: no decoder here for transfer syntax {names}"


def _find_unscaled(one: AcquisitionSet, members: list[Member]) -> str:
    """Why volumes of a set are not in one unit: scaled each for itself, without the element that undoes it."""
    lacking = [s for s in one.used if s.description.vendor.scale_key and not s.description.has_scale]
    slopes = {(m.frame.display_slope, m.frame.display_intercept) for m in members}
    if lacking and len(slopes) > 1:
        return (
            f"The volumes of the set are scaled differently, and {lacking[0].description.vendor.scale_key} is missing: "
            "their values cannot be compared"
        )
    return ""


def find_disorder(volume: list[Member], members: list[Member]) -> str:
    """Why the planes of a set are no stack: turned against one another, or with gaps; "" when they are one."""
    first = members[0].frame.orientation
    turned = [m for m in members if max(map(abs, map(float.__sub__, m.frame.orientation, first))) > COSINE_TOLERANCE]
    if turned:
        return f"Planes of unlike orientations stand in one set: {len(turned)} of {len(members)} are turned"
    places = sorted(slice_position(member) for member in volume)
    gaps = [b - a for a, b in pairwise(places)]
    if gaps and max(gaps) - min(gaps) > max(GAP_TOLERANCE, GAP_SHARE * min(gaps)):
        return (
            f"The slices are unevenly spaced, by {min(gaps):g} to {max(gaps):g} mm: some are missing, or stacks of "
            "several places stand in one series"
        )
    return ""


def _fill_phases(one: AcquisitionSet) -> None:
    """Sort phase images beside the volumes; they are left out unless they are whole and their unit is known."""
    if not one.kind.has_phase or not one.volumes:
        return
    phases: dict[float, list[Member]] = {}
    for series in one.used:
        for member in series.members("P"):
            phases.setdefault(round(value_of(one.suffix, member) or 0.0, VALUE_DIGITS), []).append(member)
    is_difference = one.kind.is_field_map and set(phases) == {max(one.volumes)}
    is_difference &= any(s.description.is_field_map for s in one.used)
    is_whole = (is_difference or set(phases) == set(one.volumes)) and all(
        sorted(plane_keys(phases[value])) == sorted(plane_keys(one.volumes[value])) for value in phases
    )
    if is_whole and all(m.frame.is_radians for members in phases.values() for m in members):
        one.phases = {value: sorted(phases[value], key=slice_position) for value in sorted(phases)}
        one.difference_of = tuple(sorted(one.volumes)) if is_difference else ()
        return
    if one.kind.is_field_map:
        one.reject(
            Disposition.IGNORED,
            "Two gradient echoes without the phase of both (or their difference) in a unit that is known for this "
            "vendor: they make no field map",
            "If it is the field map, send its phase images too; else nothing",
        )
        return
    for series in one.used:
        if not series.members():
            one.outcomes[series.uid] = Recognition(
                one.suffix,
                Disposition.IGNORED,
                "Phase images that are not whole, or in a unit that is not known for this vendor; magnitudes are used",
                "Nothing, unless a biomarker is fitted to complex images",
            )


def frame_starts(members: list[Member]) -> list[float]:
    """When the frame of each plane of a dynamic series begins [s after the first].

    The n-th image of each place belongs to the n-th frame, which begins with its earliest plane.
    """
    clock = [member.frame.frame_time or 0.0 for member in members]
    if max(clock) - min(clock) > DAY / 2:  # past midnight
        clock = [time + DAY if time < DAY / 2 else time for time in clock]
    count: Counter[tuple] = Counter()
    ranks = [0] * len(members)
    places = plane_keys(members)
    for index in sorted(range(len(members)), key=clock.__getitem__):
        ranks[index] = count[places[index]]
        count[places[index]] += 1
    first: dict[int, float] = {}
    for rank, time in zip(ranks, clock, strict=True):
        first[rank] = min(time, first.get(rank, time))
    return [round(first[rank] - min(clock), VALUE_DIGITS) for rank in ranks]


def slice_position(member: Member) -> float:
    """Where a plane lies along its normal [mm]."""
    p, o = member.frame.position, member.frame.orientation
    normal = (o[1] * o[5] - o[2] * o[4], o[2] * o[3] - o[0] * o[5], o[0] * o[4] - o[1] * o[3])
    return sum(a * b for a, b in zip(p, normal, strict=True))


def _values(suffix: str, series: Series) -> set[float]:
    values = (value_of(suffix, member) for member in series.members(with_damaged=True))
    return {round(value, VALUE_DIGITS) for value in values if SUFFIXES[suffix].is_valid(value)}


def _name(kind: Convertible) -> str:
    return kind.noun[0].upper() + kind.noun[1:]
