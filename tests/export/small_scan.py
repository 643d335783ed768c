"""A small scan as intake's index knows it, with the map that was made from it, in several poses."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from isocenter.dicom.headers import Frame, Image
from isocenter.export.identity import Identity, make_uid
from isocenter.export.parametric_map import Description
from isocenter.export.sources import Sources, refer_to

TIME = datetime(2026, 1, 12, 9, 30, tzinfo=UTC)
SHAPE = (6, 5, 4)
FRAME_OF_REFERENCE = make_uid("test", "frame of reference")


def turn(about: tuple[float, float, float], degrees: float) -> np.ndarray:
    """A rotation (Rodrigues)."""
    axis = np.array(about) / np.linalg.norm(about)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


#: Directions along a row, down a column and from slice to slice, patient axes LPS.
POSES = {
    "axial": np.eye(3),
    "sagittal": np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "oblique": turn((0.3, -0.5, 0.8), 27.0),
}


@dataclass
class Scan:
    """One series of single-frame images per inversion time, and the grid of the map."""

    series: list[list[Image]]
    affine: np.ndarray
    values: np.ndarray
    positions: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float] = (1.25, 0.9)
    thickness: float = 3.0

    @property
    def sidecar(self) -> dict:
        return {
            "SliceThickness": self.thickness, "Units": "s", "Model": "t1_inversion_recovery",
            "EstimationAlgorithm": "least squares", "GeneratedBy": [{"CodeDigest": "0123456789ab"}],
        }  # fmt: skip

    def sources(self, identity: Identity) -> Sources:
        return refer_to(self.series, identity, self.sidecar)


def make_scan(pose: str, *, n_series: int = 2, is_multi_frame: bool = False) -> Scan:
    """A scan whose NIfTI has its rows turned around and lies in RAS, as converters write it."""
    across, down, along = POSES[pose]
    along = np.cross(across, down) if np.linalg.det(POSES[pose]) < 0 else along
    corner, spacing, step = np.array([-31.25, 17.125, 42.5]), (1.25, 0.9), 3.5
    positions = corner + np.arange(SHAPE[2])[:, None] * along * step
    orientation = np.concatenate([across, down])
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = across * spacing[1], -down * spacing[0], along * step
    lps[:3, 3] = corner + down * spacing[0] * (SHAPE[1] - 1)
    affine = (np.diag([-1.0, -1, 1, 1]) @ lps).astype(np.float32).astype(float)  # as the NIfTI header holds it
    values = np.random.default_rng(7).uniform(0.2, 3.0, SHAPE).astype(np.float32)
    values[0, 1, 2] = np.nan
    places = [tuple(float(v) for v in place) for place in positions]
    series = []
    for number in range(n_series):
        uid = make_uid("test", pose, "series", str(number))
        if is_multi_frame:
            images = [_image(uid, "all", places, orientation, spacing, "1.2.840.10008.5.1.4.1.1.4.1")]
        else:
            images = [_image(uid, str(k), [p], orientation, spacing) for k, p in enumerate(places)]
        series.append(images)
    return Scan(series, affine, values, positions, orientation, spacing)


def _image(series, name, places, orientation, spacing, sop_class="1.2.840.10008.5.1.4.1.1.4"):
    frames = [
        Frame(
            place, tuple(map(float, orientation)), spacing, 0.05, "", None, "", 0.01, 5.0, 90.0, 0.0, "M", 1.0, 0.0,
            1.0, 0.0,
        )
        for place in places
    ]  # fmt: skip
    sop = make_uid(series, name)
    return Image(
        f"{series}/{name}", hashlib.sha256(sop.encode()).hexdigest(), sop_uid=sop, series_uid=series, n_rows=SHAPE[1],
        n_columns=SHAPE[0], n_frames=len(places), sop_class=sop_class, frame_of_reference=FRAME_OF_REFERENCE,
        frames=frames,
    )  # fmt: skip


def describe(*key: str, number: int = 90000, title: str = "T1: Longitudinal relaxation time") -> Description:
    return Description(key or ("test",), number, "T1MAP", title, TIME, "0123456789ab")


def need(program: str) -> str:
    """A Debian program that reads DICOM independently; the test is skipped where it is not installed."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (apt install dcmtk dicom3tools)")
    return found


def validate(path) -> list[str]:
    """What dciodvfy complains about in a file: its lines of errors and warnings."""
    done = subprocess.run([need("dciodvfy"), str(path)], capture_output=True, text=True, check=False, timeout=120)
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "Warning"))]
