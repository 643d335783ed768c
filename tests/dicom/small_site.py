"""A site that the tests fill, and one call that takes it in."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from index_site import index_site
from isocenter.io.tables import read_table

SITE_YAML = """site: alpha
source: dicom
scanners:
  - {id: scanner1, serial: "777", field_strength: 3.0}
"""
PARTICIPANTS = "participant_id\tkind\tsource_id\nP01\tpatient\tPAT-0042\nphantom1\tphantom\tPHANTOM-9\n"
TEXT = ("participant_id", "session", "run", "suffix", "reason", "action", "files", "date", "kind", "named", "warnings")


@dataclass
class Site:
    """A site's folder: the DICOM goes below `dicom`, the results below `results`."""

    folder: Path

    @property
    def dicom(self) -> Path:
        return self.folder / "dicom"

    @property
    def bids(self) -> Path:
        return self.folder / "results" / "bids"

    def take_in(self, **options) -> pd.DataFrame:
        """Run the step; the table of scans."""
        out = self.folder / "results" / "intake"
        sessions = self.folder / "sessions.tsv"
        index_site(
            self.folder / "site.yaml",
            self.folder / "participants.tsv",
            [sessions] if sessions.exists() else [],
            scans=out / "scans.tsv",
            exclusions=out / "exclusions.tsv",
            index=out / "index.json",
            bids=str(self.bids),
            source=str(self.dicom),
            **{"suffixes": ["IRT1", "MESE"], **options},
        )
        return read_table(out / "scans.tsv", text=TEXT)

    def exclusions(self) -> pd.DataFrame:
        """The rows; `path` is what the site calls a file, which the table alone does not tell."""
        table = read_table(self.folder / "results/intake/exclusions.tsv", text=(*TEXT, "series"))
        return table.assign(path=[self.real_path(told) for told in table.series])

    def real_path(self, told: str) -> str:
        code = re.search(r"\(file ([0-9a-f]{8})\)$", told)
        if not code:
            return told
        paths = dict(line.split("\t") for line in (self.folder / ".arrived.txt").read_text().splitlines())
        return json.loads(paths[code[1]])

    def files(self) -> dict[str, int]:
        """Every result and its time stamp."""
        root = self.folder / "results"
        return {p.relative_to(root).as_posix(): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


def make_site(folder: Path) -> Site:
    """An empty site with one patient, one phantom and one scanner."""
    (folder / "site.yaml").write_text(SITE_YAML)
    (folder / "participants.tsv").write_text(PARTICIPANTS)
    (folder / "dicom").mkdir()
    return Site(folder)
