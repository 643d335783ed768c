"""Files become series: by Series Instance UID, each image once, damaged ones set apart."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

from isocenter.dicom.arrivals import Arrivals
from isocenter.dicom.describe import Description, describe_series
from isocenter.dicom.headers import SEND_AGAIN, Frame, Image

#: Positions [mm] and direction cosines closer than this are the same: headers round differently.
POSITION_STEP = 0.05
COSINE_STEP = 1e-3
#: Where steps begin, as a share of one: headers hold short decimals, and no border between two steps may be one, or the
#: last digit of a position would decide whether two planes are the same.
_STEP_BEGIN = 0.2718281828


@dataclass(frozen=True)
class Member:
    """One image plane of a series: the file it stands in and which of its frames it is."""

    image: Image
    index: int

    @property
    def frame(self) -> Frame:
        """The plane itself."""
        return self.image.frames[self.index]


@dataclass
class Series:
    """One DICOM series. `damaged` files belong to it but cannot be used; `conflicts` are unlike twins of its images."""

    uid: str
    images: list[Image]
    description: Description
    damaged: list[Image] = field(default_factory=list)
    conflicts: list[Image] = field(default_factory=list)

    @property
    def time(self) -> float:
        """Time of day of its first image [s after midnight]."""
        return min(image.time for image in [*self.images, *self.damaged])

    @property
    def patients(self) -> set[str]:
        """Digests of every PatientID in it: more than one is a mix-up."""
        return {image.patient for image in [*self.images, *self.damaged] if image.patient}

    @property
    def warnings(self) -> set[str]:
        """Words of `privacy.WARNINGS` that any of its headers gives."""
        return {word for image in [*self.images, *self.damaged] for word in image.warnings.split()}

    @property
    def n_missing(self) -> int:
        """How many images a transfer seems to have lost; 0 where numbers of images do not tell.

        Instance Number (0020,0013) counts the images of a series from 1. A gap is told unless all steps are equal
        (every second image was a phase) or more than half would be missing (numbers that hold an echo or a slice); a
        head unless as many would be missing as there are (a scanner that counts on over the series of a scan).
        """
        files = [*self.images, *self.damaged]
        numbers = sorted({image.number for image in files if image.number > 0})
        if len(numbers) != len(files) or any(image.n_frames > 1 for image in files):
            return 0
        steps = {after - before for before, after in pairwise(numbers)}
        gaps = numbers[-1] - numbers[0] + 1 - len(numbers) if len(steps) > 1 else 0
        head = numbers[0] - 1 if 1 in steps else 0
        announced = {image.announced for image in files}
        short = max(announced) - len(files) if len(announced) == 1 else 0
        return max((n for n in (gaps, head, gaps + head, short) if n < len(files)), default=0)

    @property
    def n_flat(self) -> int:
        """How many of its images hold one value in all of their pixels, as a transfer that broke off leaves them."""
        frames = [frame for image in self.images for frame in image.frames]
        return sum(frame.minimum is not None and frame.minimum == frame.maximum for frame in frames)

    def members(self, component: str = "M", *, with_damaged: bool = False) -> list[Member]:
        """The planes that show one component (magnitude by default), in the order of the files.

        Damaged files tell what the series was meant to be, though their pixels are not used.
        """
        return [
            Member(image, index)
            for image in [*self.images, *(self.damaged if with_damaged else [])]
            for index, frame in enumerate(image.frames)
            if frame.component == component
        ]


@dataclass(frozen=True)
class Duplicate:
    """Files that arrived more than once: the series they say they belong to, how many, and an example's path."""

    uid: str
    images: tuple[Image, ...]
    first_copy: str


def group_series(
    images: list[Image], arrivals: Arrivals | None = None
) -> tuple[list[Series], list[Duplicate], list[Image]]:
    """Series in the order of their UID, duplicates, and files that belong to no series.

    A file that cannot be used is in the last list, and in its series' `damaged` unless an intact twin of it arrived.
    Of unlike images under one SOP Instance UID the one that arrived in a later run stands; of one run none does.
    """
    arrivals = arrivals or Arrivals()
    strays = [image for image in images if image.problem]
    usable = [image for image in images if not image.problem]
    first: dict[str, Image] = {}
    twins: dict[str, list[Image]] = {}
    conflicts: dict[str, list[Image]] = {}
    by_series: dict[str, list[Image]] = {}
    for image in sorted(usable, key=lambda image: (arrivals.batch(image), image.relative)):
        original = first.setdefault(image.sop_uid, image)
        if original is image:
            by_series.setdefault(image.series_uid, []).append(image)
        elif _same_content(original, image):
            twins.setdefault(image.series_uid, []).append(image)
        elif arrivals.batch(image) > arrivals.batch(original):
            by_series[original.series_uid].remove(original)
            by_series.setdefault(image.series_uid, []).append(image)
            first[image.sop_uid] = image
        else:
            conflicts.setdefault(original.series_uid, []).append(image)
    damaged: dict[str, list[Image]] = {}
    for image in strays:
        if image.series_uid and image.sop_uid not in first:
            damaged.setdefault(image.series_uid, []).append(image)
    duplicates = [
        Duplicate(uid, tuple(copies), first[copies[0].sop_uid].relative) for uid, copies in sorted(twins.items())
    ]
    series = []
    for uid in sorted(set(by_series) | set(damaged)):
        members, broken = sorted(by_series.get(uid, []), key=lambda image: image.relative), damaged.get(uid, [])
        if not members and not broken:  # every image of it came again, corrected, in another series
            continue
        try:
            description = describe_series((members or broken)[0].path)
        except Exception as error:  # damaged files alone are in `strays` already
            problem = f"The header of the series cannot be described ({type(error).__name__}): it is damaged"
            strays += [replace(image, problem=problem, action=SEND_AGAIN) for image in members]
            continue
        series.append(Series(uid, members, description, broken, conflicts.get(uid, [])))
    return series, duplicates, strays


def plane_keys(members: list[Member]) -> list[tuple]:
    """The positions of planes in steps that hide how headers round."""
    return [tuple(_count_steps(v, POSITION_STEP) for v in member.frame.position) for member in members]


def _count_steps(value: float, step: float) -> int:
    return round(value / step + _STEP_BEGIN)


def acquisition_key(series: Series) -> tuple:
    """What all series of one acquisition set share: matrix, geometry, TR and TE."""
    planes = series.members(with_damaged=True)
    if not planes or any(None in (m.frame.position, m.frame.orientation, m.frame.spacing) for m in planes):
        return (series.uid,)
    image, frame = planes[0].image, planes[0].frame
    return (
        image.n_rows,
        image.n_columns,
        tuple(round(v, 3) for v in frame.spacing),
        tuple(_count_steps(v, COSINE_STEP) for v in frame.orientation),
        tuple(sorted(set(plane_keys(planes)))),
        None if frame.repetition_time is None else round(frame.repetition_time, 6),
        None if frame.echo_time is None else round(frame.echo_time, 6),
    )


def split_families(series: list[Series]) -> list[list[Series]]:
    """Series by `acquisition_key`; one whose header lacks TR or TE joins the largest family of its place that fits."""
    families: dict[tuple, list[Series]] = {}
    partial: list[tuple[tuple, Series]] = []
    for one in series:
        key = acquisition_key(one)
        if None in key[-2:]:
            partial.append((key, one))
        else:
            families.setdefault(key, []).append(one)
    for key, one in partial:
        fitting = [
            family
            for known, family in families.items()
            if len(known) == len(key)
            and known[:-2] == key[:-2]
            and all(mine in (None, theirs) for mine, theirs in zip(key[-2:], known[-2:], strict=True))
        ]
        (max(fitting, key=len) if fitting else families.setdefault(key, [])).append(one)
    return list(families.values())


def _same_content(one: Image, other: Image) -> bool:
    return one.sha256 == other.sha256 or (
        one.series_uid == other.series_uid
        and one.patient == other.patient
        and (one.n_rows, one.n_columns, one.frames) == (other.n_rows, other.n_columns, other.frames)
    )
