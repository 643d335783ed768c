"""What BIDS names say: which dataset a folder is, whose a file is, and which files make one acquisition."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isocenter.dicom.suffixes import SUFFIXES

DESCRIPTION = "dataset_description.json"
#: Entities that number the files of one acquisition, beside those that kinds of series name.
_VARYING = ("inv", "echo", "flip", "part")
#: BIDS' own suffixes of a field map's images, and the kind of series that they make here.
FIELD_MAP = ("magnitude1", "magnitude2", "phase1", "phase2", "phasediff")
_NAME = re.compile(r"((?:[a-z]+-[A-Za-z0-9]{1,64}_){1,12})([A-Za-z0-9]{1,64})\.nii(?:\.gz)?")
_FOLDER = re.compile(r"sub-[A-Za-z0-9]+(?:/ses-[A-Za-z0-9]+)?/[a-z]+")
_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Dataset:
    """A BIDS dataset: the folder to read it from, and its path below the site's source; "" for the source itself."""

    root: Path
    below: str

    def locate(self, relative: str) -> str:
        """A path below the dataset as one below the source."""
        return f"{self.below}/{relative}".lstrip("/")


@dataclass(frozen=True)
class Name:
    """A file of a dataset by its entities. suffix : BIDS' own; kind : that of `SUFFIXES`, "" when it has none here."""

    relative: str
    entities: tuple[tuple[str, str], ...]
    suffix: str

    def get(self, entity: str) -> str:
        """The label of an entity; "" when the name has none."""
        return dict(self.entities).get(entity, "")

    @property
    def kind(self) -> str:
        """The kind of series that the file is part of."""
        if self.suffix in FIELD_MAP:
            return "B0GRE"
        return self.suffix if self.suffix in SUFFIXES else ""

    @property
    def is_phase(self) -> bool:
        """Whether the file holds a phase."""
        return self.get("part") == "phase" or self.suffix in ("phase1", "phase2", "phasediff")

    @property
    def acquisition(self) -> tuple:
        """What the files of one acquisition share."""
        varying = {*_VARYING, SUFFIXES[self.kind].entity.split("-")[0]} if self.kind else set()
        shared = tuple(pair for pair in self.entities if pair[0] not in varying)
        return (*shared, ("kind", self.kind or self.suffix))


def find_datasets(source: Path) -> list[Dataset]:
    """The topmost folders below `source` (itself included) that are BIDS datasets, by description or by content."""
    waiting, found = [source], []
    while waiting:
        folder = waiting.pop()
        if is_dataset(folder):
            found.append(folder)
            continue
        try:
            children = [child for child in folder.iterdir() if child.is_dir() and not child.is_symlink()]
        except OSError:  # the walk over the files says so
            continue
        waiting += [child for child in children if not child.name.startswith(".")]
    return [Dataset(root, root.relative_to(source).as_posix().removeprefix(".")) for root in sorted(found)]


def is_dataset(folder: Path) -> bool:
    """Whether a folder has a dataset's description, or subjects' folders with images under BIDS names."""
    description = folder / DESCRIPTION
    if description.is_file() and not description.is_symlink():
        return True
    subjects = (child for child in folder.glob("sub-*") if child.is_dir() and not child.is_symlink())
    return any(parse_name(path.relative_to(folder).as_posix()) for subject in subjects for path in _images(subject))


def _images(subject: Path) -> Iterator[Path]:
    for pattern in ("*/*.nii*", "ses-*/*/*.nii*"):
        yield from subject.glob(pattern)


def is_image(relative: str) -> bool:
    """Whether a path is that of a NIfTI image, by its ending."""
    return relative.lower().endswith(_NIFTI)


def parse_name(relative: str) -> Name | None:
    """A path below a dataset by its entities; None when it is no BIDS name, or contradicts its folder."""
    folder, _, file = relative.rpartition("/")
    match = _NAME.fullmatch(file)
    if not match or not _FOLDER.fullmatch(folder):
        return None
    entities = tuple(tuple(part.split("-", 1)) for part in match[1].rstrip("_").split("_"))
    name = Name(relative, entities, match[2])
    subject, *between = folder.split("/")[:-1]
    expected = [f"sub-{name.get('sub')}"] + ([f"ses-{name.get('ses')}"] if name.get("ses") else [])
    is_unique = len(dict(entities)) == len(entities)
    return name if is_unique and [subject, *between] == expected else None
