"""Trials small enough for tests, and the digests of their files."""

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PHANTOM = ROOT / "config" / "phantoms" / "nist_system.yaml"
#: Steps lie beside the package.
sys.path.insert(0, str(ROOT / "scripts"))

#: Coarse images: the physics is the same, the files are fewer.
SMALL = {
    "head_matrix": (28, 28, 6),
    "head_voxel": (8.0, 8.0, 10.0),
    "phantom_matrix": 64,
    "phantom_pixel": 3.90625,
    "inversion_times": (0.05, 0.4, 1.1, 3.0),
    "echoes": 4,
}


def hash_files(folder: Path) -> dict[str, str]:
    """The digest of each file below `folder`."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
