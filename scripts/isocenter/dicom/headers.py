"""What one DICOM file says about itself: identity, frames with their times, geometry, scaling and pixel statistics.

Nothing here names a person: the patient is a digest, the study date is not kept. Both are read from the file again
when they are needed, so that the index under ``results/`` holds neither.
"""

import hashlib
import io
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from isocenter.dicom import enhanced
from isocenter.dicom.archives import COMPRESSED_FILES, OTHER_ENDINGS, SEE_TO_DISK, SEND_ANEW
from isocenter.dicom.classic import ClassicView
from isocenter.dicom.mosaic import SEND_PRIVATE, Mosaic, MosaicError, SliceView, is_mosaic, read_mosaic
from isocenter.dicom.pixels import Cut, PixelReport, is_lossy, report_pixels, stored_ceiling, summarize
from isocenter.dicom.privacy import UidRule, as_day, find_names, find_warnings
from isocenter.dicom.values import Header, read_clock, read_number, read_numbers, read_text
from isocenter.dicom.vendors import find_vendor
from isocenter.dicom.vendors.generic import read_scaling
from isocenter.dicom.walk import Found
from isocenter.errors import DicomError
from isocenter.io.outcome import note_unsettled
from isocenter.trouble import raise_trouble
from isocenter.units import seconds_from_milliseconds

#: How far into a file its meta header may reach [bytes].
LONGEST_META = 2**20
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
SEND_AGAIN = "Send the file again from the scanner or the picture archive"
#: A transfer syntax that inflates to any size as soon as pydicom opens the file.
DEFLATED = re.compile(rb"\x02\x00\x10\x00UI..1\.2\.840\.10008\.1\.2\.1\.99", re.DOTALL)
SEND_UNCOMPRESSED = "Send it again uncompressed (Explicit VR Little Endian, 1.2.840.10008.1.2.1)"
#: Digits and dots by the standard; de-identified files have letters too. What could be a path or formula is none.
UID_PATTERN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
#: Seconds.
DAY = 86_400.0
LEAVE_OUT = "Nothing, if it belongs to no series; otherwise send the image again as DICOM"


@dataclass
class Frame:
    """One image plane; None where the header is silent.

    Times [s], b-value [s/mm²], angle [deg], positions [mm, DICOM patient axes]. frame_time : when a plane of a dynamic
    series was acquired, on any one clock of the series

    slope, intercept : stored integer to comparable value, by the vendor's rule; of a phase to radians where
    is_radians says that the rule is known; display_slope, display_intercept :
    the plain rescaling of the header; minimum, maximum, total, at_ceiling : of the stored integers

    coil : a digest of the receive coil's name, "" where there is none: people type into such fields; bandwidth : of a
    pixel [Hz]; averages : how many
    """

    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    inversion_time: float | None
    inversion_source: str
    b_value: float | None
    b_source: str
    echo_time: float | None
    repetition_time: float | None
    flip_angle: float | None
    frame_time: float | None
    component: str
    slope: float
    intercept: float
    display_slope: float
    display_intercept: float
    is_radians: bool = False
    echo_number: int | None = None
    coil: str = ""
    bandwidth: float | None = None
    averages: float | None = None
    minimum: int | None = None
    maximum: int | None = None
    total: int | None = None
    at_ceiling: int | None = None


@dataclass
class Image:
    """One DICOM file. `relative` is its path below the source folder; `problem` is "" when it is usable.

    sop_class : UID; sop_uid, series_uid, frame_of_reference : UIDs as results may hold them, "" where there is none;
    study : a digest of the study's UID, "" where there is none
    names : the elements that still say who a person is; warnings : words of `privacy.WARNINGS`; is_lossy : whether
    compression changed the values of pixels
    field_strength : T as the header says it; 0 where it is silent
    number, announced : Instance Number and Images in Acquisition; 0 where the header is silent
    path : where its bytes are: there, or where an archive was unpacked (then `relative` says archive.zip/entry)
    """

    relative: str
    sha256: str
    problem: str = ""
    action: str = ""
    sop_uid: str = ""
    series_uid: str = ""
    patient: str = ""
    time: float = 0.0
    n_rows: int = 0
    n_columns: int = 0
    bits_stored: int = 0
    is_signed: bool = False
    n_samples: int = 1
    n_frames: int = 1
    serial: str = ""
    field_strength: float = 0.0
    syntax: str = ""
    sop_class: str = ""
    frame_of_reference: str = ""
    study: str = ""
    names: str = ""
    warnings: str = ""
    is_lossy: bool = False
    number: int = 0
    announced: int = 0
    frames: list[Frame] = field(default_factory=list)
    path: Path = Path()


def digest_patient(patient_id: str) -> str:
    """What stands for a PatientID wherever it is kept."""
    return hashlib.sha256(f"PatientID:{patient_id.strip()}".encode()).hexdigest()[:20]


@lru_cache(maxsize=1024)
def _digest_name(text: str) -> str:
    """What tells two names apart that may not be kept; "" of none."""
    return hashlib.sha256(text.casefold().encode()).hexdigest()[:12] if text else ""


def read_header(path: Path, blob: bytes | None = None) -> tuple[Dataset, int]:
    """The header of a file and the byte where its pixel data begin; ValueError when it is no DICOM."""
    blob = path.read_bytes() if blob is None else blob
    if blob[128:132] != b"DICM" and not _begins_like_dataset(blob):
        raise ValueError("no DICOM")
    file = io.BytesIO(blob)
    if DEFLATED.search(blob, 0, LONGEST_META):
        raise DicomError("Transfer Syntax (0002,0010) is 1.2.840.10008.1.2.1.99 (deflated), which is not read")
    dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    return dataset, file.tell()


def read_image(found: Found, rule: UidRule | None = None) -> Image | None:
    """Read one file of the source tree; None for a table of contents (DICOMDIR).

    rule : which UIDs may be kept; without one all are
    """
    # Values are judged here, one by one, where they are used: pydicom's own complaints would fill the log.
    with disable_value_validation():
        image = _read_image(found, rule)
    if image is not None:
        image.path = found.path
    return image


def _read_image(found: Found, rule: UidRule | None) -> Image | None:
    if found.problem:
        return Image(found.relative, "", found.problem, found.action)
    try:
        blob = found.path.read_bytes()
    except OSError as error:  # a disk that went away may come back, and rights may be mended
        problem = f"The file cannot be read: {error.strerror}"
        note_unsettled(problem)
        return Image(found.relative, "", problem, SEE_TO_DISK)
    digest = hashlib.sha256(blob).hexdigest()
    if not blob:
        return Image(found.relative, digest, "The file is empty", SEND_AGAIN)
    try:
        dataset, offset = read_header(found.path, blob)
    except ValueError:
        if found.relative.lower().endswith(OTHER_ENDINGS) and not found.relative.lower().endswith(COMPRESSED_FILES):
            return Image(found.relative, digest, "An archive of a kind that is not unpacked", SEND_ANEW)
        return Image(found.relative, digest, "This is no DICOM file", LEAVE_OUT)
    except DicomError as error:
        return Image(found.relative, digest, str(error), SEND_UNCOMPRESSED)
    except Exception as error:  # pydicom raises whatever a broken file makes it stumble over
        raise_trouble(error)
        return Image(
            found.relative,
            digest,
            f"The DICOM header cannot be read ({type(error).__name__}): it is damaged",
            SEND_AGAIN,
        )
    try:
        return _read_dataset(found.relative, digest, dataset, blob, offset, rule)
    except Exception as error:
        raise_trouble(error)
        return Image(
            found.relative, digest, f"A value in the DICOM header is damaged ({type(error).__name__})", SEND_AGAIN
        )


def _read_uid(header: Header, keyword: str) -> str:
    """A UID that others may be pointed to; "" where there is none or something else."""
    text = read_text(header, keyword)
    return text if UID_PATTERN.fullmatch(text) else ""


def _read_syntax(dataset: Dataset) -> str:
    """The transfer syntax; "" where there is none or something else than digits and dots."""
    text = read_text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID")
    return text if re.fullmatch("[0-9.]{1,64}", text) else ""


def _read_dataset(
    relative: str, digest: str, dataset: Dataset, blob: bytes, offset: int, rule: UidRule | None
) -> Image | None:
    header = ClassicView(dataset)
    media = read_text(getattr(dataset, "file_meta", Dataset()), "MediaStorageSOPClassUID")
    if MEDIA_DIRECTORY in (media, read_text(header, "SOPClassUID")):
        return None
    image = Image(
        relative,
        digest,
        sop_uid=read_text(header, "SOPInstanceUID"),
        series_uid=read_text(header, "SeriesInstanceUID"),
        patient=digest_patient(read_text(header, "PatientID")),
        time=_read_time(header),
        serial=read_text(header, "DeviceSerialNumber"),
        field_strength=read_number(header, "MagneticFieldStrength") or 0.0,
        syntax=_read_syntax(dataset),
        sop_class=_read_uid(header, "SOPClassUID"),
        frame_of_reference=_read_uid(header, "FrameOfReferenceUID"),
        study=_digest_name(read_text(header, "StudyInstanceUID")),
        names=find_names(header),
        warnings=find_warnings(header),
        is_lossy=is_lossy(header, read_text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID")),
        number=int(read_number(header, "InstanceNumber") or 0),
        announced=int(read_number(header, "ImagesInAcquisition") or 0),
    )
    if not image.series_uid or not image.sop_uid:
        missing = "Series Instance UID (0020,000E)" if not image.series_uid else "SOP Instance UID (0008,0018)"
        image.problem = f"The file is truncated or incomplete: {missing} is missing in its header"
        image.action = SEND_AGAIN
        return image
    for name in ("series_uid", "sop_uid"):
        if not UID_PATTERN.fullmatch(getattr(image, name)):
            tag = "Series Instance UID (0020,000E)" if name == "series_uid" else "SOP Instance UID (0008,0018)"
            image.problem, image.action = f"{tag} is no UID", SEND_AGAIN
            image.sop_uid = image.series_uid = ""
            return image
    if rule is not None:
        uids = [image.sop_uid, image.series_uid, image.frame_of_reference]
        image.sop_uid, image.series_uid, image.frame_of_reference = rule.tell_all(uids, header)
    if "Rows" not in dataset and read_text(header, "Modality") != "MR":
        return image  # a report, a protocol, raw data: an object without pixels, and rightly so
    image.n_rows = int(read_number(header, "Rows") or 0)
    image.n_columns = int(read_number(header, "Columns") or 0)
    image.bits_stored = int(read_number(header, "BitsStored") or 16)
    image.is_signed = read_number(header, "PixelRepresentation") == 1.0
    image.n_samples = int(read_number(header, "SamplesPerPixel") or 1)
    if enhanced.is_enhanced(dataset):
        views: list[Header] = list(enhanced.iterate_frames(dataset))
    else:
        views = [header]
    n_frames = image.n_frames = int(read_number(header, "NumberOfFrames") or 1)
    mosaic, trouble = _find_mosaic(header)
    cut = mosaic.cut if mosaic else None
    report = report_pixels(blob, offset, dataset, n_frames, cut)
    if not report.problem and not report.total:
        report = _decode(blob, dataset, n_frames, cut) or report
    if not report.problem and trouble:
        report = PixelReport(trouble, action=SEND_PRIVATE)
    image.problem, image.action = report.problem, (report.action or SEND_AGAIN) if report.problem else ""
    if mosaic:
        image.n_rows, image.n_columns = mosaic.n_rows, mosaic.n_columns
        views = [SliceView(header, position) for position in mosaic.positions]
        n_frames = image.n_frames = len(views)
    if n_frames != len(views):
        if enhanced.is_enhanced(dataset):
            image.problem = f"The file says it has {n_frames} frames and describes {len(views)}"
            image.action = SEND_AGAIN
        views = views[: max(n_frames, 0)]  # several frames without a description: kept as one plane, refused later
    image.frames = [_read_frame(view) for view in views]
    for index, frame in enumerate(image.frames):
        if report.total:
            frame.minimum, frame.maximum = report.minimum[index], report.maximum[index]
            frame.total, frame.at_ceiling = report.total[index], report.at_ceiling[index]
    return image


def _read_frame(header: Header) -> Frame:
    vendor = find_vendor(header)
    component, display = vendor.read_component(header), read_scaling(header)
    phase = vendor.read_phase_scaling(header) if component == "P" else None
    scaling = phase or vendor.read_scaling(header)
    inversion, weighting = vendor.read_inversion_time(header), vendor.read_b_value(header)
    return Frame(
        position=read_numbers(header, "ImagePositionPatient", 3),
        orientation=read_numbers(header, "ImageOrientationPatient", 6),
        spacing=read_numbers(header, "PixelSpacing", 2),
        inversion_time=inversion.value,
        inversion_source=inversion.source,
        b_value=weighting.value,
        b_source=weighting.source,
        echo_time=_seconds(header, "EchoTime"),
        repetition_time=_seconds(header, "RepetitionTime"),
        flip_angle=read_number(header, "FlipAngle"),
        frame_time=vendor.read_frame_time(header),
        component=component,
        slope=scaling.slope,
        intercept=scaling.intercept,
        display_slope=display.slope,
        display_intercept=display.intercept,
        is_radians=phase is not None,
        echo_number=int(read_number(header, "EchoNumbers") or 0) or None,
        coil=_digest_name(read_text(header, "ReceiveCoilName")),
        bandwidth=read_number(header, "PixelBandwidth"),
        averages=read_number(header, "NumberOfAverages"),
    )


def _find_mosaic(header: Header) -> tuple[Mosaic | None, str]:
    """Where the slices of a mosaic stand, or why they cannot be told apart; nothing of an image that is none."""
    if not is_mosaic(header):
        return None, ""
    try:
        return read_mosaic(header), ""
    except MosaicError as error:
        return None, f"A mosaic of slices (Image Type (0008,0008)) that cannot be told apart: {error}"


def _decode(blob: bytes, dataset: Dataset, n_frames: int, cut: Cut | None) -> PixelReport | None:
    """Statistics of compressed pixels where pydicom can decode them, else None: then nothing is verified."""
    try:
        stored = pydicom.dcmread(io.BytesIO(blob), force=True).pixel_array
    except Exception as error:
        if dataset.file_meta.TransferSyntaxUID != RLELossless:
            return None  # no decoder is installed for this transfer syntax, or none for so many bits
        return PixelReport(
            f"Transfer Syntax (0002,0010) {RLELossless} (RLE) is claimed, and the pixel data (7FE0,0010) cannot be "
            f"decoded ({type(error).__name__}): they are damaged"
        )
    if stored.size % n_frames or stored.dtype.kind not in "iu":
        return None
    ceiling = stored_ceiling(int(dataset.BitsStored), stored.dtype.kind == "i")
    planes = np.ascontiguousarray(stored).reshape(n_frames, -1)
    return summarize(cut(planes) if cut else planes, ceiling)


def _begins_like_dataset(blob: bytes) -> bool:
    """Whether a file without the DICM mark starts with a data element of group 0002 or 0008."""
    return len(blob) > 8 and blob[:2] in (b"\x02\x00", b"\x08\x00") and blob[3] == 0


def _seconds(header: Header, keyword: str) -> float | None:
    value = read_number(header, keyword)
    return None if value is None else round(seconds_from_milliseconds(value), 9)


def _read_time(header: Header) -> float:
    """Time of day of the acquisition [s after the midnight before the study]; 0 when no element tells."""
    keywords = ("AcquisitionTime", "AcquisitionDateTime", "SeriesTime", "ContentTime", "StudyTime")
    begin = as_day(read_text(header, "StudyDate"))
    acquired = as_day(read_text(header, "AcquisitionDate") or read_text(header, "AcquisitionDateTime"))
    is_past_midnight = begin is not None and acquired is not None and (acquired - begin).days == 1
    return (read_clock(header, keywords) or 0.0) + (DAY if is_past_midnight else 0.0)
