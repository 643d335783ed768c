"""What an image holds, whatever compressed it: a digest over its bytes as they unpack."""

import gzip
import hashlib
import zlib
from pathlib import Path

from isocenter.io.received import LARGEST

CHUNK = 2**20
#: Room for a header beside the voxels that `read_received` takes at most [bytes].
LONGEST = LARGEST + 2**20


def digest_image(path: Path) -> str:
    """SHA-256 of a NIfTI image, unpacked; of the file as it is where it is damaged or unpacks to more than any."""
    try:
        return _digest_unpacked(path)
    except (OSError, EOFError, zlib.error):
        pass
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # whoever reads the voxels says so
        return f"unreadable: {path.name}"


def _digest_unpacked(path: Path) -> str:
    digest, left = hashlib.sha256(), LONGEST
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            left -= len(chunk)
            if left < 0:
                raise EOFError
    return digest.hexdigest()
