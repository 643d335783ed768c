"""An atlas in the template's space: its label image, and the table that says what the labels are."""

from pathlib import Path
from typing import Any

from isocenter.documents import read_rows
from isocenter.errors import ConfigError, explain
from isocenter.regions.atlas_region import AtlasRegion


def read_atlas_regions(path: Path, *, name: str | None = None) -> list[AtlasRegion]:
    """What the labels of an atlas are (``workflow/schemas/atlas.schema.yaml``)."""
    rows = read_rows(Path(path), "atlas", name=name or str(path))
    return [AtlasRegion(int(row["index"]), row["name"], row["tissue"], row["part"]) for row in rows]


def check_atlas(root: Path, atlas: dict[str, Any] | None) -> None:
    """Raise ConfigError where a trial names an atlas whose files are not there or do not read."""
    if atlas is None:
        return
    if not (root / atlas["labels"]).is_file():
        raise ConfigError(
            explain(
                "The label image of the atlas is missing",
                where="config/config.yaml, key regions.brain.atlas.labels",
                found=atlas["labels"],
                remedy="copy it there, or mend the path (relative to the trial's folder)",
            )
        )
    read_atlas_regions(root / atlas["names"], name=atlas["names"])
