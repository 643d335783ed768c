"""The file of vial regions that a person draws when the search fails or is not wanted: read and checked row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isocenter.documents import read_rows
from isocenter.errors import ConfigError, explain
from isocenter.phantom.hand_regions import DrawnVials

#: The columns of the two ways to say a place.
WAYS = {"x, y, z": ("x", "y", "z"), "i, j, k": ("i", "j", "k")}


@dataclass(frozen=True)
class VialRegions:
    """Regions as drawn. vials : (n,) int array; places : (n, 3) array, RAS+ [mm], or voxel indices if `in_voxels`."""

    vials: np.ndarray
    places: np.ndarray
    in_voxels: bool


def read_drawn(paths: Sequence[str | Path]) -> DrawnVials | None:
    """The regions of a scan's hand-made file, which is one of `paths` (none or one); None where nothing was drawn."""
    if not paths:
        return None
    found = read_rois(paths[0], name=Path(paths[0]).name)
    return found.vials, found.places, found.in_voxels


def read_rois(path: str | Path, *, name: str | None = None) -> VialRegions:
    """Read a TSV of regions (``workflow/schemas/regions.schema.yaml``).

    Raises
    ------
    ConfigError
        One line per complaint, each with its row: a cell that is no number, a vial twice, a row without a place or
        with both kinds.
    """
    name = name or str(path)
    rows = read_rows(Path(path), "regions", name=name)
    if not rows:
        raise ConfigError(explain("A file of regions has no rows", where=name, remedy="write one row a vial"))
    complaints, seen, ways = [], {}, set()
    for number, row in enumerate(rows, start=1):
        where = f"{name}, row {number} (vial {row['vial']})"
        vial = int(row["vial"])
        if vial in seen:
            complaints.append(
                explain("A vial has two regions", where=where, found=f"row {seen[vial]} too", remedy="keep one of them")
            )
        seen.setdefault(vial, number)
        given = [c for columns in WAYS.values() for c in columns if row[c] != ""]
        way = next((w for w, columns in WAYS.items() if given == list(columns)), None)
        if way is None:
            complaints.append(
                explain(
                    "A region has no clear place",
                    where=where,
                    expected=" or ".join(WAYS),
                    found=", ".join(given) or "none of them",
                )
            )
        ways.add(way)
    if not complaints and len(ways) > 1:
        complaints.append(
            explain("Some rows give millimeters and others voxels", where=name, expected="one of the two in all rows")
        )
    if complaints:
        raise ConfigError("\n".join(complaints))
    columns = WAYS[ways.pop()]
    places = np.array([[float(row[c]) for c in columns] for row in rows])
    return VialRegions(np.array([int(row["vial"]) for row in rows]), places, columns[0] == "i")
