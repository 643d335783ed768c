"""The regions that a site sends for one of its series, on the grid of a map: label images, DICOM-SEG, shapes, a heart.

Files lie under ``sites/<site>/rois`` and are named like the series (:mod:`isocenter.layout`). All of them say where
they are in the scanner's coordinates; nothing is registered.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.dicom.segmentation import read_segmentation
from isocenter.documents import read_document
from isocenter.errors import RegistrationError, explain
from isocenter.io.nifti import read_labels
from isocenter.io.tables import read_table
from isocenter.regions.erosion import Erosion
from isocenter.regions.heart import MYOCARDIUM, ShortAxisSlice, segment_heart
from isocenter.regions.shapes import draw_shape, voxel_centers
from isocenter.rois import place_labels

#: What a site may send, by the end of the file's name.
IMAGE, TABLE, SEGMENTATION, SHAPES, HEART = "_dseg.nii.gz", "_dseg.tsv", "_dseg.dcm", "_shapes.yaml", "_heart.yaml"
#: What a site may call a region: tables and pages show it.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,63}")
#: Files that say where regions are; a series has one of them.
SOURCES = (IMAGE, SEGMENTATION, SHAPES)


def place_sent(
    sent: Sequence[Path], suffix: str, shape: tuple[int, int, int], affine: np.ndarray, *, prefix: str, source: str
) -> tuple[dict[str, np.ndarray], list[Path]]:
    """The regions that a site sent for a series, and the files that they came from.

    Parameters
    ----------
    sent : paths
        Everything that was sent for the run.
    suffix : str
        Of the series.
    shape, affine
        Of the map's grid; (4, 4) array, voxel to RAS+ mm.
    prefix : str
        The run's entities, for the message that asks for a file.
    source : str
        ``site`` or ``heart``, as the biomarker's block says.

    Returns
    -------
    Name to (x, y, z) booleans, as sent and before any erosion; the files

    Raises
    ------
    RegistrationError, ConfigError
        Nothing was sent, two files contradict one another, or nothing lies within the map.
    """
    own = {end: path for path in sent for end in (*SOURCES, TABLE, HEART) if path.name.endswith(f"_{suffix}{end}")}
    found = [end for end in SOURCES if end in own]
    if source == "site":
        _demand_one(found, own, suffix, prefix)
    elif HEART not in own:
        raise RegistrationError(
            explain(
                f"The site sent no description of the heart for the {suffix} series",
                expected=f"sites/<site>/rois/{prefix}_{suffix}{HEART}",
                found="no such file",
                remedy="ask the site for the contours and the right ventricle's insertions",
            )
        )
    regions = _read(found[0], own, shape, affine) if found else {}
    if source == "site" and not any(region.any() for region in regions.values()):
        raise RegistrationError(
            explain(
                f"The labels that the site drew do not meet the {suffix} series",
                expected="labels in the scanner's coordinates of that series",
                found="no labeled voxel within the map",
                remedy="draw them on the series itself, or export them with its geometry",
            )
        )
    used = [own[end] for end in (*found[:1], *((TABLE,) if found[:1] == [IMAGE] else ()))]
    return regions, used + ([own[HEART]] if source == "heart" else [])


def divide_heart(
    path: Path, sent: dict[str, np.ndarray], shape: tuple[int, int, int], affine: np.ndarray, erosion: Erosion
) -> dict[str, np.ndarray]:
    """The myocardium and its segments, by the site's ``_heart.yaml`` and, without contours, its mask."""
    content = read_document(path, "heart", name=path.name)
    slices = [
        ShortAxisSlice(one["level"], *(None if one[key] is None else np.asarray(one[key], float) for key in _PLACES))
        for one in content["slices"]
    ]
    return segment_heart(slices, shape, affine, mask=sent.get(MYOCARDIUM), erosion=erosion)


_PLACES = ("anterior_insertion", "inferior_insertion", "endocardium", "epicardium")


def hash_files(paths: Sequence[Path]) -> str:
    """SHA-256 of files one after another, as hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _demand_one(found: list[str], own: dict[str, Path], suffix: str, prefix: str) -> None:
    if not found or (found == [IMAGE] and TABLE not in own):
        raise RegistrationError(
            explain(
                f"The site sent no {'names of labels' if found else 'labels'} for the {suffix} series",
                expected=f"sites/<site>/rois/{prefix}_{suffix}{IMAGE} and .tsv (index, name), or …{SEGMENTATION}, or "
                f"…{SHAPES}",
                found="no such file",
                remedy="ask the site to outline the regions on this series",
            )
        )
    if len(found) > 1:
        raise RegistrationError(
            explain(
                f"The site sent regions for the {suffix} series in several ways",
                expected="one file",
                found=", ".join(own[end].name for end in found),
                remedy="keep the one that counts",
            )
        )


def _read(end: str, own: dict[str, Path], shape: tuple[int, int, int], affine: np.ndarray) -> dict[str, np.ndarray]:
    if end == SHAPES:
        content: dict[str, Any] = read_document(own[end], "shapes", name=own[end].name)
        points = voxel_centers(shape, affine)
        return _unite((one["name"], draw_shape(one, points)) for one in content["shapes"])
    if end == SEGMENTATION:
        segments, where = read_segmentation(own[end])
        pairs = [(name_region(label), mask) for label, mask in segments]
    else:
        image, where = read_labels(own[end])
        rows = read_table(own[TABLE], text=("name",), required=("index", "name"))
        pairs = [
            (_check_name(name), image == int(index)) for index, name in rows[["index", "name"]].itertuples(index=False)
        ]
    return _unite((name, place_labels(mask, where, shape, affine)) for name, mask in pairs)


def _unite(parts: Iterable[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Regions by name; parts of one name are one region."""
    regions: dict[str, np.ndarray] = {}
    for name, mask in parts:
        regions[name] = regions.get(name, False) | mask
    return regions


def name_region(label: str) -> str:
    """A segment's label as the name of a region: ``Left Ventricle`` is left_ventricle.

    Raises RegistrationError for a label without any such letter: regions without a name would become one.
    """
    name = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    if not name:
        raise RegistrationError(
            explain("A segment's label gives no name", expected="a label with letters from a to z, or digits",
                    found=_quote(label), remedy="rename the segment")
        )  # fmt: skip
    return name


def _check_name(name: str) -> str:
    """A region's name as a table and a page may hold it."""
    if not NAME.fullmatch(name):
        raise RegistrationError(
            explain("This is no name of a region", where=TABLE, expected="letters, digits, _, - and spaces",
                    found=_quote(name), remedy="rename it")
        )  # fmt: skip
    return name


def _quote(text: str) -> str:
    """A text from outside as a message may quote it."""
    return repr(text[:40])
