"""What a trial's results were made with: hashes of the manifest, of what people wrote, of code and environment.

What belongs to the trial as a whole and what belongs to one site are told apart, so that sites that were run in folders
of their own can be held against one another.
"""

import hashlib
from functools import cache
from pathlib import Path

from isocenter import layout
from isocenter.provenance import SCRIPTS, environment_digest, file_digest

#: Files that people write: what a run was asked to do.
_TRIAL = ("config/**/*.yaml", "config/**/*.tsv")
_SITE = ("*.yaml", "*.tsv")


def find_digests(directory: Path) -> dict[str, str]:
    """SHA-256 of the manifest, of what people wrote, of the code, and of the environment's lock."""
    manifest = directory / layout.MANIFEST
    found = {
        "manifest": file_digest(manifest) if manifest.is_file() else "",  # a decision may come before the first run
        "config": _digest_tree(directory, list_written(directory)),
        "code": code_tree_digest(),
        "environment": environment_digest(),
    }
    return {name: digest for name, digest in found.items() if digest}


def site_digests(directory: Path, site: str) -> dict[str, str]:
    """What the results of one site are made with, the same wherever they are made.

    ``code``, ``environment`` and ``config`` (of the folder ``config/`` only) are those of the whole trial; ``site`` is
    over what people wrote for the site, without the identifiers of participants.
    """
    written = sorted({path for pattern in _TRIAL for path in directory.glob(pattern)})
    return {
        "code": code_tree_digest(),
        "config": _digest_tree(directory, written),
        "environment": environment_digest(),
        "site": digest_site(directory, site),
    }


def digest_site(directory: Path, site: str) -> str:
    """SHA-256 over what people wrote for a site; ``source_id`` is left out, for it may stay at the site."""
    digest = hashlib.sha256()
    for path in list_site(directory, site):
        digest.update(f"{path.name}\0".encode())
        digest.update(withhold_identifiers(path))
    return digest.hexdigest()


def withhold_identifiers(path: Path) -> bytes:
    """The content of a file that people wrote, with ``source_id`` of ``participants.tsv`` replaced by a word."""
    content = path.read_bytes()
    if path.name != Path(layout.PARTICIPANTS).name:
        return content
    header, *rows = content.decode().splitlines()
    columns = header.split("\t")
    if "source_id" not in columns:
        return content
    at, name = columns.index("source_id"), columns.index("participant_id")
    told = [header]
    for row in filter(None, rows):
        cells = row.split("\t")
        cells[at] = f"withheld-{cells[name]}"
        told.append("\t".join(cells))
    return ("\n".join(told) + "\n").encode()


def list_site(directory: Path, site: str) -> list[Path]:
    """The tables and documents that people wrote for one site."""
    folder = directory / layout.fill(layout.SITE_FOLDER, site=site)
    return sorted(path for pattern in _SITE for path in folder.glob(pattern))


def list_written(directory: Path) -> list[Path]:
    """The files of a trial that people wrote."""
    patterns = (*_TRIAL, *(f"{layout.SITES}/*/{pattern}" for pattern in _SITE))
    return sorted({path for pattern in patterns for path in directory.glob(pattern)})


@cache
def code_tree_digest() -> str:
    """SHA-256 over all code that a run uses: steps, package and rules."""
    workflow = SCRIPTS.parent / "workflow"
    code = sorted([*SCRIPTS.rglob("*.py"), *workflow.rglob("*.smk"), workflow / "Snakefile"])
    return _digest_tree(SCRIPTS.parent, code)


def _digest_tree(root: Path, paths: list[Path]) -> str:
    lines = "".join(f"{path.relative_to(root)}\0{file_digest(path)}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()
