"""Names seeded into every kind of element, file and folder, each a word of its own; and a search for them."""

import base64
import gzip
import json
import re
import zipfile
import zlib
from pathlib import Path

import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

DATE, BIRTH = "20310417", "19470923"
#: The same day in seconds since 1970, as one vendor writes it into UIDs.
EPOCH = "1934186400"
#: Text elements of the top level; each holds a word of its own. Free text and technical text alike.
TEXTS = (
    "PatientID", "OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers", "PatientComments", "Occupation",
    "AdditionalPatientHistory", "EthnicGroup", "RegionOfResidence", "CurrentPatientLocation", "AdmissionID",
    "MedicalAlerts", "Allergies", "IssuerOfPatientID", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "StationName", "AccessionNumber", "StudyID", "StudyDescription",
    "SeriesDescription", "ProtocolName", "ImageComments", "RequestedProcedureDescription", "AcquisitionComments",
    "PerformedProcedureStepDescription", "StudyComments", "DerivationDescription", "ReasonForTheRequestedProcedure",
    "PerformedProcedureStepID", "RequestingService",
)  # fmt: skip
PERSONS = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
    "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName", "ResponsiblePerson",
    "RequestingPhysician",
)  # fmt: skip
#: Elements whose text the sidecar takes over: here they repeat a name that stands in the header as one.
TECHNICAL = ("ReceiveCoilName", "TransmitCoilName", "SequenceName", "ScanOptions", "SoftwareVersions",
             "ManufacturerModelName")  # fmt: skip


class Seeds:
    """Hands out words and remembers them by where they stand."""

    def __init__(self):
        self.words: dict[str, str] = {}
        self.technical = TECHNICAL

    def word(self, place: str) -> str:
        """The word of a place: no prefix of another, and nothing that chance writes."""
        return self.words.setdefault(place, f"Qwz{_letters(len(self.words))}vyx")

    def seed(self, dataset: Dataset) -> None:
        """Put a word into every element named above, sequences, private blocks, functional groups and UIDs."""
        with disable_value_validation():
            for key in TEXTS:
                setattr(dataset, key, self.word(key))
            for key in PERSONS:
                setattr(dataset, key, f"{self.word(key)}^Ö{self.word(key + ' given')}")
            for key in self.technical:
                told = str(dataset.get(key) or "").split("\\")[0]
                setattr(dataset, key, f"{told}{self.word('PatientName')}")
            dataset.SpecificCharacterSet = "ISO_IR 192"
            dataset.PatientBirthDate = BIRTH
            for key in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
                setattr(dataset, key, DATE)
            self._seed_sequences(dataset)
            self._seed_private(dataset)
            self._seed_uids(dataset)

    def _seed_sequences(self, dataset):
        for sequence, key in (
            ("RequestAttributesSequence", "RequestedProcedureDescription"),
            ("OtherPatientIDsSequence", "PatientID"),
            ("ProcedureCodeSequence", "CodeMeaning"),
            ("ReferencedStudySequence", "StudyDescription"),
        ):
            item = Dataset()
            setattr(item, key, self.word(f"{sequence}/{key}"))
            setattr(dataset, sequence, Sequence([item]))
        code, person = Dataset(), Dataset()
        code.CodeMeaning = self.word("ReferringPhysicianIdentificationSequence/…/CodeMeaning")
        person.PersonIdentificationCodeSequence = Sequence([code])
        person.InstitutionName = self.word("ReferringPhysicianIdentificationSequence/InstitutionName")
        dataset.ReferringPhysicianIdentificationSequence = Sequence([person])
        for number, group in enumerate(dataset.get("PerFrameFunctionalGroupsSequence", ())):
            if "FrameContentSequence" in group:
                group.FrameContentSequence[0].FrameComments = self.word("FrameComments")
                group.FrameContentSequence[0].FrameLabel = self.word("FrameLabel")
            if number == 0:
                self._add_block(group, 0x0029, "OWN FRAME NOTES", "per-frame private")
        for group in dataset.get("SharedFunctionalGroupsSequence", ()):
            self._add_block(group, 0x0029, "OWN SHARED NOTES", "shared private")
            state = Dataset()
            state.StudyComments = self.word("shared group/StudyComments")
            group.PatientPhysiologicalStateSequence = Sequence([state])

    def _seed_private(self, dataset):
        for group, creator in (
            (0x0009, "GEMS_IDEN_01"), (0x0029, "SIEMENS MEDCOM HEADER2"), (0x0021, "SIEMENS MR SDS 01"),
            (0x2001, "Philips Imaging DD 002"), (0x0031, "OWN PRIVATE"),
        ):  # fmt: skip
            self._add_block(dataset, group, creator, f"private {group:04X}")

    def _add_block(self, dataset, group, creator, place):
        block = dataset.private_block(group, creator, create=True)
        block.add_new(0x71, "LO", self.word(place))
        block.add_new(0x72, "UN", self.word(f"{place} bytes").encode())
        inner = Dataset()
        inner.PatientName = self.word(f"{place} sequence")
        block.add_new(0x73, "SQ", Sequence([inner]))

    def _seed_uids(self, dataset):
        for key, part in (
            ("SeriesInstanceUID", DATE), ("StudyInstanceUID", EPOCH), ("SOPInstanceUID", f"{DATE}101500"),
            ("FrameOfReferenceUID", BIRTH),
        ):  # fmt: skip
            old = str(dataset.get(key) or "1")
            setattr(dataset, key, f"1.2.840.99.{part}.{zlib.crc32(old.encode())}")

    def seed_file(self, path: Path) -> None:
        """Seed a file in place."""
        dataset = pydicom.dcmread(path)
        self.seed(dataset)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        with disable_value_validation():
            dataset.save_as(path)


def _letters(number: int) -> str:
    return "".join(chr(ord("a") + number // 26**k % 26) for k in (1, 0))


def find_words(root: Path, words: dict[str, str]) -> list[str]:
    """Where any of the words (place to word) stands below `root`: in names, or in bytes in any of several writings."""
    plain = {writing: place for place, word in words.items() for writing in _write(word.lower())}
    exact = {writing: place for place, word in words.items() for writing in _write_base64(word)}
    patterns, patterns64 = _compile(plain), _compile(exact)
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        contents = [name.encode()]
        if path.is_file() and not path.is_symlink():
            contents += _open(path.read_bytes())
        for content in contents:
            low = content.lower()
            found += [f"{name}: {plain[m]}" for pattern in patterns for m in set(pattern.findall(low))]
            found += [f"{name}: {exact[m]} in base64" for pattern in patterns64 for m in set(pattern.findall(content))]
    return found


def _compile(writings: dict[bytes, str]) -> list[re.Pattern[bytes]]:
    """One pattern for all writings that begin alike: each is searched for by its beginning, which is fast."""
    groups: dict[bytes, list[bytes]] = {}
    for writing in sorted(writings, key=len, reverse=True):
        groups.setdefault(writing[:2], []).append(writing)
    return [re.compile(b"|".join(map(re.escape, group))) for group in groups.values()]


def _write(word: str) -> set[bytes]:
    return (
        {word.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "latin-1", "cp500")}
        | {json.dumps(word)[1:-1].encode(), word[::-1].encode()}
        | {w.encode().hex().encode() for w in (word, word.capitalize())}
    )


def _write_base64(word: str) -> set[bytes]:
    """What a word looks like in base64 at each of three places, the ends that its neighbors share cut off."""
    written = set()
    for text in {word, word.lower(), word.upper()}:
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + text.encode())
            written.add(encoded[(0, 2, 3)[shift] : -4])
    return written


def _open(content: bytes) -> list[bytes]:
    """The bytes, and what is compressed in them: gzip, a zip's entries, the text chunks of a PNG."""
    opened = [content]
    if content[:2] == b"\x1f\x8b":
        opened.append(gzip.decompress(content))
    elif content[:4] == b"PK\x03\x04":
        import io

        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            opened += [archive.read(name) for name in archive.namelist()]
    elif content[:4] == b"\x89PNG":
        for kind in (b"zTXt", b"iTXt"):
            at = content.find(kind)
            while at >= 0:
                length = int.from_bytes(content[at - 4 : at])
                body = content[at + 4 : at + 4 + length].split(b"\0", 2)[-1].lstrip(b"\0")
                try:
                    opened.append(zlib.decompress(body))
                except zlib.error:
                    opened.append(body)
                at = content.find(kind, at + 4)
    return opened
