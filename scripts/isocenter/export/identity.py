"""Whom an exported object names: the trial's pseudonym, or on request the patient as the source DICOM has it.

A pseudonymous object shares no UID with the hospital's archive, where it would otherwise be filed under a study of
another patient, and scanners write dates and serial numbers into UIDs. Its UIDs are digests of the original ones, the
same in every object, so that maps, segmentations and reports of one trial still refer to one another.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

#: Elements of patient and study that an object with identifiers takes over from its source.
IDENTIFYING = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip
#: Those that must be there, if empty.
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
#: What elements with a form of their own may hold.
_VALID = {
    "PatientSex": "[MFO]", "PatientBirthDate": r"\d{8}", "StudyDate": r"\d{8}", "StudyTime": r"\d{2,6}(\.\d{1,6})?",
    "PatientAge": r"\d{3}[DWMY]", "PatientSize": r"\d{1,3}(\.\d{1,10})?", "PatientWeight": r"\d{1,3}(\.\d{1,10})?",
    "StudyInstanceUID": r"[0-9.]{1,64}",
}  # fmt: skip
#: Longest text of the value representations LO and SH.
LONG, SHORT = 64, 16
METHOD = "Isocenter: of the source header only geometry; UIDs hashed"


@dataclass(frozen=True)
class Identity:
    """Patient and study of an object. values : by keyword of `IDENTIFYING`; is_real : from the source DICOM.

    uids : UIDs as the index tells them, to those of the source; the index tells one that holds a date by its digest
    """

    values: Mapping[str, str] = field(default_factory=dict)
    is_real: bool = False
    uids: Mapping[str, str] = field(default_factory=dict)

    def uid(self, told: str) -> str:
        """The UID by which an object refers to one of the index."""
        return self.uids.get(told, told) if self.is_real else make_uid("original", told)

    def put(self, dataset: Dataset) -> None:
        """Write patient and study into a dataset; text is UTF-8."""
        dataset.SpecificCharacterSet = "ISO_IR 192"
        for keyword in _TYPE_2:
            setattr(dataset, keyword, "")
        for keyword, value in self.values.items():
            setattr(dataset, keyword, value)
        dataset.PatientIdentityRemoved = "NO" if self.is_real else "YES"
        if not self.is_real:
            dataset.DeidentificationMethod = plain_text(METHOD)
            dataset.LongitudinalTemporalInformationModified = "REMOVED"


def pseudonym(site: str, participant: str, session: str) -> Identity:
    """The trial's labels in place of a person."""
    label = plain_text(f"{site}-{participant}")
    study = make_uid("study", site, participant, session)
    return Identity(
        {"PatientID": label, "PatientName": f"{label[:63]}^", "StudyInstanceUID": study, "StudyID": session[:SHORT]},
        False,
    )


def real(values: Mapping[str, str], uids: Mapping[str, str] | None = None) -> Identity:
    """The patient as the source has it; of what is no value of its element (a damaged date) nothing is taken over.

    uids : those of the index that stand for others, to the source's own
    """
    kept = {key: plain_text(text, 1024) for key, text in values.items() if key in IDENTIFYING}
    for key, pattern in _VALID.items():
        if key in kept and not re.fullmatch(pattern, kept[key]):
            del kept[key]
    return Identity(kept, True, dict(uids or {}))


def make_uid(*parts: str) -> str:
    """A UID from a digest (PS3.5 B.2, UUID-derived): the same parts give the same one."""
    digest = bytearray(hashlib.sha256("\0".join(parts).encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80  # a UUID of one's own making (RFC 9562, version 8)
    digest[8] = digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"


def plain_text(text: str, longest: int = LONG) -> str:
    """Text that one value of an element may hold: printable, without the backslash that parts values, and cut.

    longest : characters by the standard; here bytes of UTF-8, which readers count
    """
    kept = "".join(c if c.isprintable() and c != "\\" else " " for c in text)
    return re.sub(r"\s+", " ", kept).strip().encode()[:longest].decode(errors="ignore")
