"""One usable acquisition of a site: who, when, which series, what its sidecars say and where its slices lie."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from isocenter.quality.values import as_number

#: Scanners are named by a round field strength ("3 T" is 2.89 T on one vendor's machines), never off by more.
FIELD_TOLERANCE_PERCENT = 10.0


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image lie. shape : (3,) columns, rows, slices; affine : (4, 4) array [mm]."""

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def voxel(self) -> np.ndarray:
        """(3,) array: the voxel's edges [mm]."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) array: unit vectors along columns, rows and slices, as columns."""
        return self.affine[:3, :3] / self.voxel

    @property
    def center(self) -> np.ndarray:
        """(3,) array: the middle of the stack [mm]."""
        return self.affine[:3, :3] @ ((np.array(self.shape[:3]) - 1) / 2) + self.affine[:3, 3]


@dataclass(frozen=True)
class Acquisition:
    """One usable acquisition: who, when, which series, the sidecars of its BIDS files, the grid of the first."""

    participant_id: str
    kind: str
    session: str
    run: str
    suffix: str
    sidecars: list[dict[str, Any]] = field(default_factory=list)
    grid: Grid | None = None

    @property
    def scope(self) -> str:
        """How the certificate names it."""
        return f"{self.run_scope} {self.suffix}"

    @property
    def run_scope(self) -> str:
        """How the certificate names its run."""
        return f"sub-{self.participant_id} ses-{self.session} run-{self.run}"

    @property
    def first(self) -> dict[str, Any]:
        """Its first sidecar; empty where there is none."""
        return self.sidecars[0] if self.sidecars else {}

    def values(self, key: str) -> list[Any]:
        """Every value of a sidecar key over the acquisition, lists flattened, in the order of the files.

        ``VoxelSize`` [mm] comes from the image itself.
        """
        if key == "VoxelSize" and self.grid is not None:
            return [round(float(edge), 4) for edge in self.grid.voxel]
        found: list[Any] = []
        for sidecar in self.sidecars:
            value = sidecar.get(key)
            found += value if isinstance(value, list) else [] if value is None else [value]
        return found

    def text(self, key: str) -> str:
        """The first value of a sidecar key as text, "" when absent."""
        return str(next(iter(self.values(key)), ""))


def is_in_stratum(acquisition: Acquisition, stratum: dict[str, Any]) -> bool:
    """Whether a check narrowed to a manufacturer, model, software or field strength holds for an acquisition."""
    makers = acquisition.values("Manufacturer")
    if "manufacturer" in stratum and not any(
        str(maker).casefold().startswith(stratum["manufacturer"].casefold()) for maker in makers
    ):
        return False
    for key, name in (("model", "ManufacturersModelName"), ("software", "SoftwareVersions")):
        pattern = stratum.get(key, "").casefold()
        if pattern and not any(fnmatchcase(str(value).casefold(), pattern) for value in acquisition.values(name)):
            return False
    fields = [as_number(value) for value in acquisition.values("MagneticFieldStrength")]
    nominal = stratum.get("field_strength")
    return nominal is None or any(abs(value - nominal) <= nominal * FIELD_TOLERANCE_PERCENT / 100 for value in fields)
