"""One session of DICOM in memory: every series recognized from its tags, those of use converted, none lost.

Without a site there are no participants and no runs to name: series become acquisitions, in the order of time.
"""

import hashlib
import tempfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.dicom.convert import Converted, convert_set
from isocenter.dicom.copies import find_copies
from isocenter.dicom.geometry_scan import REASON, as_one_volume, is_geometry_scan
from isocenter.dicom.group import Series, group_series
from isocenter.dicom.headers import Image, read_image
from isocenter.dicom.index import list_files
from isocenter.dicom.recognize import Recognition, recognize_all
from isocenter.dicom.sets import AcquisitionSet, form_sets
from isocenter.dicom.sidecar import build_sidecar, merge_sidecars
from isocenter.dicom.suffixes import SUFFIXES
from isocenter.entities import Disposition
from isocenter.errors import DicomError, explain
from isocenter.io.outcome import Exclusion
from isocenter.processes import run_in_order
from isocenter.volume import Series as ImageSeries


@dataclass(frozen=True)
class Acquisition:
    """What one map is fitted to. run : counted within its suffix, in the order of time; uids : of its DICOM series.

    phased : the same images complex, where their phase was sent with them
    """

    suffix: str
    run: int
    series: ImageSeries
    uids: tuple[str, ...]
    phased: ImageSeries | None = None


@dataclass
class Session:
    """A session as it was read.

    acquisitions : those of the suffixes asked for
    geometry : 3D scans that show the whole phantom, one value each; geometry_uids : of their DICOM series
    scanner_maps : maps that the scanner computed, as (quantity, image, the time [s] of their DICOM series)
    scans : a row a DICOM series: suffix, what it is, disposition, reason, n_files, time, digest of its files
    """

    date: str
    field_strength: float | None
    scanner: dict[str, str]
    acquisitions: list[Acquisition] = field(default_factory=list)
    geometry: list[ImageSeries] = field(default_factory=list)
    geometry_uids: list[str] = field(default_factory=list)
    scanner_maps: list[tuple[str, ImageSeries]] = field(default_factory=list)
    scans: list[dict[str, Any]] = field(default_factory=list)
    n_files: int = 0
    n_no_dicom: int = 0


def read_session(
    source: Path,
    suffixes: Collection[str],
    *,
    threads: int = 1,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Session:
    """Read everything below `source`, recognize it and convert what `suffixes` names.

    threads : files to read and series to convert side by side; the session is the same for any number

    Raises DicomError when there is no MR image, or when images of several days stand there.
    """
    with tempfile.TemporaryDirectory(prefix="isocenter-unpacked-") as folder:
        return _read_session(source, suffixes, Path(folder, "archives"), threads, on_progress)


def _read_session(
    source: Path, suffixes: Collection[str], unpacked: Path, threads: int, on_progress: Callable[[str], None]
) -> Session:
    on_progress("reading DICOM")
    images = _read_files(source, unpacked, threads)
    series, _, strays = group_series(images)
    recognized = recognize_all(series, suffixes)
    for uid, copy in find_copies(series).items():
        recognized[uid] = copy.judge(recognized[uid])
    if not any(one.description.modality == "MR" for one in series):
        raise DicomError(
            explain(
                "The folder holds no MR images",
                where=str(source),
                expected="DICOM files of one phantom session, in any folders",
                found=f"{len(images)} files, {len(series)} DICOM series",
                remedy="name the folder that the scanner or the picture archive exported",
            )
        )
    _refuse_several_days(series, recognized, source)
    sets = form_sets(series, recognized)
    for acquisition in sets:
        recognized.update(acquisition.outcomes)
    used = [one for acquisition in sets if acquisition.volumes for one in acquisition.used]
    first = used[0] if used else next(one for one in series if one.description.modality == "MR")
    session = Session(
        first.description.date.isoformat() if first.description.date else "",
        first.description.field_strength,
        _describe_scanner(first),
        n_files=len(images),
        n_no_dicom=sum(1 for image in strays if not image.series_uid),
    )
    wanted = [one for one in sets if one.volumes and one.suffix in suffixes]
    beside = _list_beside(series, recognized, has_diffusion=any(one.suffix == "dwi" for one in wanted))
    on_progress(f"converting {', '.join(dict.fromkeys(one.suffix for one in wanted))}")
    converted = _convert_all(wanted, beside, recognized, threads)
    counts: dict[str, int] = {}
    for acquisition in wanted:
        made = converted[id(acquisition)]
        if isinstance(made, Exclusion):
            acquisition.reject(Disposition.QUARANTINED, made.reason, made.action)
            recognized.update(acquisition.outcomes)
            continue
        counts[acquisition.suffix] = counts.get(acquisition.suffix, 0) + 1
        uids = tuple(one.uid for one in acquisition.used)
        session.acquisitions.append(Acquisition(acquisition.suffix, counts[acquisition.suffix], made[0], uids, made[1]))
    _keep_beside(beside, converted, recognized, session)
    session.scans = [_scan_row(one, recognized[one.uid]) for one in sorted(series, key=lambda s: (s.time, s.uid))]
    return session


def _read_files(source: Path, unpacked: Path, threads: int) -> list[Image]:
    """The images below `source`, in the order of their files."""
    files, _ = list_files(source, {"files": {}}, unpacked)
    read = run_in_order(lambda number: read_image(files[number]), len(files), threads)
    return [image for image in read if image is not None]


def _convert_all(
    wanted: list[AcquisitionSet], beside: list[Series], recognized: dict[str, Recognition], threads: int
) -> dict[int, Any]:
    """By the `id` of a set its images and its complex ones or None, of a series its image.

    Of one that cannot be converted, which must not stop the others: why.
    """
    # The largest first, so that none is left to run alone for long.
    tasks: list[AcquisitionSet | Series] = sorted([*wanted, *beside], key=_count_planes, reverse=True)

    def convert(number: int) -> Any:
        one = tasks[number]
        if isinstance(one, Series):
            try:
                return _convert_one(one, recognized[one.uid])
            except DicomError as error:
                return f"not converted: {error}"
        try:
            images = _convert(one)
            return images, _convert_phase(one, images)
        except Exception as error:
            return Exclusion.from_error("intake", error)

    return {id(one): made for one, made in zip(tasks, run_in_order(convert, len(tasks), threads), strict=True)}


def _count_planes(one: AcquisitionSet | Series) -> int:
    return len(one.images) if isinstance(one, Series) else sum(map(len, one.volumes.values()))


def _refuse_several_days(series: list[Series], recognized: dict[str, Recognition], source: Path) -> None:
    """Before sets are formed, which sort by the time of day: those of several days would take each other's series."""
    used = [one for one in series if recognized[one.uid].disposition is Disposition.USED]
    dates = {one.description.date for one in used} - {None}
    if len(dates) > 1:
        raise DicomError(
            explain(
                "The folder holds more than one session",
                where=str(source),
                expected="the images of one day",
                found=", ".join(sorted(date.isoformat() for date in dates)),
                remedy="give the sessions one by one",
            )
        )


def _convert(acquisition: AcquisitionSet) -> ImageSeries:
    """The volumes of a set as one series with its merged sidecar."""
    volumes = convert_set(acquisition)
    sidecars = [build_sidecar(acquisition, value, volume, "") for value, volume in volumes.items()]
    merged = merge_sidecars(sidecars, acquisition.kind.key)
    known = {key: np.asarray(value) if _is_numbers(value) else value for key, value in merged.items()}
    known.pop("SaturationValue", None)
    return _stack(list(volumes.values()), known)


def _convert_phase(acquisition: AcquisitionSet, magnitude: ImageSeries) -> ImageSeries | None:
    """The images of a set complex; None where no phase belongs to them."""
    if not acquisition.phases:
        return None
    volumes = convert_set(replace(acquisition, volumes=acquisition.phases, phases={}, part="phase"))
    radians = np.stack([volume.data for volume in volumes.values()], axis=-1).astype(float)
    return replace(magnitude, data=(magnitude.data * np.exp(1j * radians)).astype(np.complex64))


def _stack(volumes: list[Converted], acquisition: dict[str, Any]) -> ImageSeries:
    saturation = [np.inf if volume.saturation is None else volume.saturation for volume in volumes]
    data = np.stack([volume.data for volume in volumes], axis=-1).astype(np.float32)
    return ImageSeries(data, volumes[0].affine, acquisition, np.array(saturation, dtype=float))


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)


def _list_beside(series: list[Series], recognized: dict[str, Recognition], *, has_diffusion: bool) -> list[Series]:
    """What helps beside the quantitative series: scans of the geometry, and the scanner's own ADC maps."""
    return [
        one
        for one in sorted(series, key=lambda s: (s.time, s.uid))
        if (has_diffusion and _is_map(one, recognized[one.uid])) or is_geometry_scan(one, recognized[one.uid])
    ]


def _is_map(one: Series, known: Recognition) -> bool:
    """Whether a series is an ADC map that the scanner computed."""
    is_left = known.disposition is Disposition.IGNORED and bool(one.members()) and one.description.modality == "MR"
    return is_left and "ADC" in one.description.derivation.split()


def _keep_beside(
    beside: Iterable[Series], converted: dict[int, Any], recognized: dict[str, Recognition], session: Session
) -> None:
    has_diffusion = "dwi" in {a.suffix for a in session.acquisitions}
    for one in beside:
        known, image = recognized[one.uid], converted[id(one)]
        is_map = _is_map(one, known)
        if is_map and not has_diffusion:  # its own series could not be converted: there is nothing to compare
            continue
        if isinstance(image, str):
            recognized[one.uid] = Recognition("", Disposition.IGNORED, f"{known.reason}; {image}", "")
        elif is_map:
            session.scanner_maps.append(("ADC", image))
            recognized[one.uid] = Recognition("", Disposition.IGNORED, "ADC map of the scanner, for comparison", "")
        else:
            session.geometry.append(image)
            session.geometry_uids.append(one.uid)
            recognized[one.uid] = Recognition("", Disposition.USED, REASON, "")


def _convert_one(one: Series, known: Recognition) -> ImageSeries:
    """A series of one value as it is, by the same way as any other."""
    whole = as_one_volume(one) if known.suffix == "" and one.description.is_3d else as_one_volume(one, "dwi")
    return _stack(list(convert_set(whole).values()), {"AcquisitionTimeOfDay": one.time})


def _describe_scanner(one: Series) -> dict[str, str]:
    words = one.description.sidecar
    keys = ("Manufacturer", "ManufacturersModelName", "DeviceSerialNumber", "SoftwareVersions")
    return {key: str(words.get(key, "")) for key in keys}


def _scan_row(one: Series, known: Recognition) -> dict[str, Any]:
    what = known.reason or (SUFFIXES[known.suffix].title if known.suffix in SUFFIXES else "")
    whole = int(one.time)
    return {
        "time": f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}",
        "suffix": known.suffix,
        "disposition": str(known.disposition),
        "reason": what,
        "n_files": len(one.images) + len(one.damaged),
        "series_uid": one.uid,
        "files_sha256": _digest_files(one),
    }


def _digest_files(one: Series) -> str:
    """SHA-256 over the sorted digests of a series' files: the same wherever they lie and whatever they are called."""
    digests = sorted(image.sha256 for image in [*one.images, *one.damaged])
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
