"""What a header tells of a person: values that must not leave the DICOM, names left at arrival, warnings.

Nothing of this is kept but names of elements and counts; the values stay in memory, where they are looked for in
what is to be written.
"""

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from isocenter.dicom.deidentify import tell_uid, uid_of_digest
from isocenter.dicom.values import Header, read_text

#: Elements that say who a person is. A site removes them before it sends; what is left is counted in its verdict.
NAMING = (
    "PatientName", "PatientBirthDate", "PatientBirthTime", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName",
    "PatientMotherBirthName", "PatientAddress", "PatientTelephoneNumbers", "PatientComments", "ReferringPhysicianName",
    "ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers", "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord", "RequestingPhysician", "OperatorsName",
    "MilitaryRank", "ResponsiblePerson", "MedicalRecordLocator", "IssuerOfPatientID",
)  # fmt: skip
#: Those, and elements that describe a person or place: none of their values may leave the DICOM.
IDENTIFYING = (
    *NAMING, "PatientID", "AccessionNumber", "StudyID", "AdmissionID", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "StationName", "ScheduledProcedureStepID", "PerformedProcedureStepID",
    "RequestedProcedureID", "FillerOrderNumberImagingServiceRequest", "PlacerOrderNumberImagingServiceRequest",
)  # fmt: skip
#: Elements whose value could stand in a text that a scanner writes by itself: of persons, not of places.
PERSONAL = (*NAMING, "PatientID", "AccessionNumber", "AdmissionID")
DATES = (
    "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PatientBirthDate", "InstanceCreationDate",
    "AcquisitionDateTime", "PerformedProcedureStepStartDate", "ScheduledProcedureStepStartDate",
)  # fmt: skip
#: What anonymizers leave instead of a name.
NOBODY = re.compile(r"(anon|anonymous|anonymi[sz]ed|de-?identified|removed|none|unknown|phantom|test|x+|0+)?[\d^ _.-]*")
#: Days of birth that anonymizers write.
NO_BIRTHDAYS = ("19000101", "18000101")
#: A part of a UID that begins with a date of the years that MR scanners have been built in, as most of them write it:
#: it need not be a date of the header, for studies are registered the day before and archived the day after.
_DATED = re.compile(r"(?:^|\.)((?:19[89]|20[0-9])\d{5})")
#: A UID may hold the time as seconds since 1970.
_EPOCH = re.compile(r"(?:^|\.)(\d{10})(?=\.|$)")
_DAY = 86_400
#: How deep sequences are followed for names: no standard nests deeper, and hostile files may.
DEEPEST = 8


@dataclass(frozen=True)
class UidRule:
    """Which UIDs may be kept as they are: those of phantoms, and of people where they hold nothing identifying.

    phantoms : Patient IDs of phantoms; keep_dates : whether the trial keeps dates
    """

    phantoms: frozenset[str] = frozenset()
    keep_dates: bool = False

    def tell(self, uid: str, header: Header) -> str:
        """A UID of the file with this header as results may hold it."""
        return self.tell_all([uid], header)[0]

    def tell_all(self, uids: Sequence[str], header: Header) -> list[str]:
        """The UIDs of the file with this header as results may hold them."""
        if not any(uids) or read_text(header, "PatientID") in self.phantoms:
            return list(uids)
        values = {text for key in PERSONAL if (text := read_text(header, key))}
        days: set[datetime.date] = set()
        if not self.keep_dates:
            days = {day for key in DATES if (day := as_day(read_text(header, key)))}
            # One vendor writes the year with two digits.
            values |= {day.strftime(form) for day in days for form in ("%Y%m%d", "%y%m%d")}
        return [self._tell(uid, values, days) if uid else uid for uid in uids]

    def _tell(self, uid: str, values: set[str], days: set[datetime.date]) -> str:
        if not self.keep_dates:
            is_dated = any(as_day(digits) for digits in _DATED.findall(uid))
            if is_dated or any(_is_time_of(uid, day) for day in days):
                return uid_of_digest(uid)
        return tell_uid(uid, values)


@lru_cache(maxsize=4096)  # a site's files name few days, and asking strptime was a twentieth of the intake
def as_day(text: str) -> datetime.date | None:
    """A DICOM date, with or without its separators of before 1993; None when it is none."""
    try:
        return datetime.datetime.strptime(text.replace(".", "").replace("-", "")[:8], "%Y%m%d").date()
    except ValueError:
        return None


def _is_time_of(uid: str, day: datetime.date) -> bool:
    begin = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp()
    return any(-_DAY <= int(seconds) - begin <= 2 * _DAY for seconds in _EPOCH.findall(uid))


def find_names(header: Header) -> str:
    """The keywords of `NAMING` that still hold something in a file, in one text; "" when none does.

    A name that is the Patient ID again (a pseudonym), or what anonymizers write, is none.
    """
    own = read_text(header, "PatientID")
    return " ".join(key for key in NAMING if (text := read_text(header, key)) and not is_nobody(text, own))


def is_nobody(text: str, patient_id: str) -> bool:
    """Whether a value is a pseudonym, or what anonymizers write instead of a name or a birth date."""
    plain = text.strip("^ ")
    if plain == patient_id or plain.replace("-", "") in NO_BIRTHDAYS:
        return True
    return bool(NOBODY.fullmatch(plain.lower())) and as_day(plain) is None


def find_personal(dataset: Dataset) -> set[str]:
    """The values of `PERSONAL`, and names of persons (PN), those in sequences too."""
    return _find_values(dataset, PERSONAL)


def find_identifying(dataset: Dataset) -> set[str]:
    """Every identifying value of a header, those in its sequences too: `IDENTIFYING`, and names of persons (PN)."""
    return _find_values(dataset, IDENTIFYING)


def _find_values(dataset: Dataset, keywords: Iterable[str]) -> set[str]:
    tags = {tag_for_keyword(key) for key in keywords}
    return {text for value in _walk(dataset, tags, 0) if (text := str(value).strip().strip("\0"))}


def _walk(dataset: Dataset, tags: set[int | None], depth: int) -> Iterator[object]:
    for tag in dataset.keys():  # noqa: SIM118  (iterating a Dataset decodes every element)
        raw = dataset.get_item(tag)
        # Files in implicit VR, the default of DICOM, do not say what an element is: the dictionary does.
        kind = raw.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "")
        if kind == "SQ" and depth < DEEPEST:
            for item in dataset[tag].value or ():
                yield from _walk(item, tags, depth + 1)
        elif tag in tags or kind == "PN":
            yield from _values(dataset, tag, raw)


def _values(dataset: Dataset, tag: int, raw: object) -> Iterable[object]:
    try:
        value = dataset[tag].value
    except Exception:  # a damaged element: its bytes are told as they are
        value = raw.value.decode("latin-1") if isinstance(raw, RawDataElement) and raw.value else ""
    return value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]


def find_warnings(header: Header) -> str:
    """What the header warns of, one of the words of `WARNINGS` each, in one text."""
    found = []
    if read_text(header, "BurnedInAnnotation").upper() == "YES":
        found.append("burned_in")
    if read_text(header, "RecognizableVisualFeatures").upper() == "YES" or _is_head_volume(header):
        found.append("face")
    return " ".join(found)


def _is_head_volume(header: Header) -> bool:
    """A three-dimensional image of a head, from which a face can be rendered."""
    part = read_text(header, "BodyPartExamined").upper()
    return part in ("HEAD", "BRAIN", "HEADNECK", "FACE") and read_text(header, "MRAcquisitionType").upper() == "3D"


#: Word of `find_warnings`: the element and what it means.
WARNINGS = {
    "burned_in": "Burned In Annotation (0028,0301) is YES: text stands in the pixels, and may name somebody",
    "face": "A face may be recognized (Recognizable Visual Features (0028,0302), or a 3D image of the head)",
}
