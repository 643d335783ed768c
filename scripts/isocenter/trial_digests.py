"""What a trial's results were made with: hashes of the manifest, of what people wrote, of code and environment."""

import hashlib
from pathlib import Path

from isocenter import layout
from isocenter.provenance import SCRIPTS, environment_digest, file_digest

#: Files that people write: what a run was asked to do.
_WRITTEN = ("config/**/*.yaml", "config/**/*.tsv", f"{layout.SITES}/*/*.yaml", f"{layout.SITES}/*/*.tsv")


def find_digests(directory: Path) -> dict[str, str]:
    """SHA-256 of the manifest, of what people wrote, of the code, and of the environment's lock."""
    written = list_written(directory)
    code = sorted([*SCRIPTS.rglob("*.py"), *(SCRIPTS.parent / "workflow").rglob("*.smk")])
    manifest = directory / layout.MANIFEST
    found = {
        "manifest": file_digest(manifest) if manifest.is_file() else "",  # a decision may come before the first run
        "config": _digest_tree(directory, written),
        "code": _digest_tree(SCRIPTS.parent, code),
        "environment": environment_digest(),
    }
    return {name: digest for name, digest in found.items() if digest}


def list_written(directory: Path) -> list[Path]:
    """The files of a trial that people wrote."""
    return sorted({path for pattern in _WRITTEN for path in directory.glob(pattern)})


def _digest_tree(root: Path, paths: list[Path]) -> str:
    lines = "".join(f"{path.relative_to(root)}\0{file_digest(path)}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()
