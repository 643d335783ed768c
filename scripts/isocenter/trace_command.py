"""From one number of ``measurements.tsv`` back to what it was made from: maps, calibration, series, DICOM, hashes.

The way leads along the sidecars: each says its sources and the SHA-256 that they had then, which is held against the
files as they are now.
"""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isocenter import layout
from isocenter.calibration.scanners import choose_curve
from isocenter.entities import Kind
from isocenter.errors import ConfigError, TableError, explain
from isocenter.io.nifti import read_sidecar, sidecar_path
from isocenter.provenance import file_digest
from isocenter.stamps import find_source

#: What names one number, and what the command calls it.
KEYS = ("site", "participant_id", "session", "run", "biomarker", "roi")
#: What a sidecar says of a step that is told on the way.
_FACTS = ("Model", "Options", "Units", "Alignment", "AlignmentNote", "LentMaps", "Pulses", "MagneticFieldStrength")
#: And of who made it: the key of ``GeneratedBy``, and the word for it here.
_MADE = {"Description": "step", "Version": "version", "CodeDigest": "code", "EnvironmentLockSHA256": "environment lock"}
_CURVE = ("form", "coefficients", "covariance", "valid_range", "n_vials", "dates", "refused", "reason", "rule")


@dataclass
class Node:
    """One thing on the way: what it is, where, its facts, what it was made from.

    state : "as then", "changed since" or "missing" for a file whose hash a sidecar recorded; else ""
    """

    what: str
    path: str = ""
    sha256: str = ""
    state: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    sources: list["Node"] = field(default_factory=list)

    def walk(self) -> Iterable["Node"]:
        """The node itself and all below it."""
        yield self
        for source in self.sources:
            yield from source.walk()


def find_row(directory: Path, *, number: int | None = None, **wanted: str) -> tuple[int, dict[str, str]]:
    """One row of ``measurements.tsv`` and its number (from 1), by that number or by the entities of `KEYS`.

    Raises
    ------
    TableError
        When there is no table yet.
    ConfigError
        When no row, or more than one, is what was asked for.
    """
    rows = read_rows(directory / layout.MEASUREMENTS)
    if number is not None:
        if not 1 <= number <= len(rows):
            raise ConfigError(
                explain("No such row", where=layout.MEASUREMENTS, expected=f"1 to {len(rows)}", found=number)
            )
        return number, rows[number - 1]
    asked = {key: value for key, value in wanted.items() if value}
    found = [(n, row) for n, row in enumerate(rows, start=1) if all(row[key] == asked[key] for key in asked)]
    if len(found) == 1:
        return found[0]
    what, among = ("No row is", rows) if not found else ("More than one row is", [row for _, row in found])
    open_keys = asked if not found else (key for key in KEYS if key not in asked)
    known = "; ".join(f"{key}: {', '.join(dict.fromkeys(row[key] for row in among))}" for key in open_keys)
    raise ConfigError(
        explain(
            f"{what} what was asked for",
            where=layout.MEASUREMENTS,
            expected=f"one row; known are {known}",
            found=", ".join(f"{key} {value}" for key, value in asked.items()),
            remedy="name site, participant, session, run, --biomarker and --roi, or the row's number",
        )
    )


def trace(directory: Path, number: int, row: dict[str, str]) -> Node:
    """The tree of what one row of ``measurements.tsv`` was made from."""
    return Tracer(directory, row["site"]).trace(number, row)


class Tracer:
    """Follows the sources of files; what was told once is not told again.

    is_checked : whether every file is hashed and held against what was recorded; if not, a hash is the recorded one,
    only a file whose hash nobody recorded is read, and one tracer serves all rows of its site
    """

    def __init__(self, directory: Path, site: str, *, is_checked: bool = True):
        self.directory, self.site, self.is_checked = directory, site, is_checked
        self.told: set[Path] = set()
        scans = read_rows(directory / layout.fill(layout.SCANS, site=site))
        self.scans = scans
        self.series = {name: scan for scan in scans for name in scan["files"].split("|") if name}
        self.dicom = self._read_dicom()
        self.known: dict[Path, Node] = {}

    def trace(self, number: int, row: dict[str, str]) -> Node:
        """The tree of one row of the site."""
        entities = {"site": self.site, "participant": row["participant_id"]}
        entities |= {"session": row["session"], "run": row["run"]}
        root = Node("row", f"{layout.MEASUREMENTS}, row {number}", facts=dict(row))
        root.sources.append(self.follow("map", layout.fill(layout.MAP, **entities, map=row["map"])))
        labels = layout.fill(layout.LABELS, **entities) / f"{row['map']}_dseg.nii.gz"
        root.sources.append(self.follow("labels", labels))
        calibration = layout.fill(layout.CALIBRATION, site=self.site, biomarker=row["biomarker"])
        if row["calibration"] != "not wanted":
            root.sources.append(self.follow_calibration(calibration, row))
        return root

    def follow(self, what: str, path: Path, recorded: str = "") -> Node:
        """The node of one file and, the first time, of its sources; unchecked, the same node every time."""
        if path in self.known:
            return self.known[path]
        node = self._node(what, path, recorded)
        if path in self.told:
            node.facts = {"told": "above"}
            return node
        self.told.add(path)
        if not self.is_checked:
            self.known[path] = node
        image = self.directory / path
        if not path.name.endswith(".nii.gz") or not sidecar_path(image).is_file():
            return node
        sidecar = read_sidecar(image)
        if path.is_relative_to(layout.fill(layout.BIDS, site=self.site)):
            return self._end_at_series(node, path, sidecar)
        node.facts = {key: sidecar[key] for key in _FACTS if key in sidecar}
        made = (sidecar.get("GeneratedBy") or [{}])[0]
        node.facts |= {word: made[key] for key, word in _MADE.items() if key in made}
        hashes = sidecar.get("SourceHashes", {})
        for uri in sidecar.get("Sources", []):
            source = find_source(uri, self.site)
            node.sources.append(self.follow(_describe(source), source, hashes.get(uri, "")))
        return node

    def follow_calibration(self, path: Path, row: dict[str, str]) -> Node:
        """The curve that a row went through, its vials, and the phantom sessions that they come from."""
        node = self._node("calibration", path)
        if node.state == "missing":
            return node
        content = json.loads((self.directory / path).read_text(encoding="utf-8"))
        curve = choose_curve(content, row["scanner"]).to_dict()
        node.facts = {key: curve[key] for key in _CURVE if key in curve}
        sessions = [scan for scan in self._phantom_sessions(row["scanner"]) if scan["date"] in curve["dates"]]
        for scan in sessions:
            entities = {"site": self.site, "participant": scan["participant_id"]}
            entities |= {"session": scan["session"], "run": scan["run"]}
            table = layout.fill(layout.PHANTOM_VIALS, **entities, map=row["map"])
            if not (self.directory / table).is_file():
                continue
            vials = self._node("phantom session", table)
            keys = ("participant_id", "session", "run", "date", "scanner")
            vials.facts = {key: scan[key] for key in keys}
            vials.facts["vials used"] = [
                f"{vial['vial']}: {vial['measured']} for {vial['reference']} {vial['unit']}"
                for vial in read_rows(self.directory / table)
                if vial["biomarker"] == row["biomarker"] and vial["used"] == "True"
            ]
            vials.sources.append(self.follow("map", layout.fill(layout.MAP, **entities, map=row["map"])))
            node.sources.append(vials)
        return node

    def _phantom_sessions(self, scanner: str) -> list[dict[str, str]]:
        """The first scan of each run of a phantom on a scanner."""
        first = {}
        for scan in self.scans:
            if scan["kind"] == Kind.PHANTOM and scan["scanner"] == scanner:
                first.setdefault((scan["participant_id"], scan["session"], scan["run"]), scan)
        return [scan for key, scan in sorted(first.items()) if all(part not in ("", "n/a") for part in key)]

    def _end_at_series(self, node: Node, path: Path, sidecar: dict[str, Any]) -> Node:
        """A raw file: the DICOM series behind it, by its intake row, with the hash of each file."""
        name = path.relative_to(layout.fill(layout.BIDS, site=self.site)).as_posix()
        scan = self.series.get(name, {})
        uids = sidecar.get("SourceSeriesInstanceUID", [])  # raw data that came as BIDS name no series
        for uid in dict.fromkeys(uids if isinstance(uids, list) else [uids]):
            series = Node("series", facts={"series_uid": uid})
            series.facts |= {key: scan[key] for key in ("suffix", "scanner", "disposition") if scan}
            series.facts |= {"files": sidecar.get("SourceFiles"), "files_sha256": sidecar.get("SourceSHA256")}
            series.sources = [Node("DICOM file", sha256=digest) for digest in self.dicom.get(uid, [])]
            node.sources.append(series)
        return node

    def _node(self, what: str, path: Path, recorded: str = "") -> Node:
        file = self.directory / path
        if not file.is_file():
            return Node(what, path.as_posix(), recorded, "missing")
        if recorded and not self.is_checked:
            return Node(what, path.as_posix(), recorded)
        found = file_digest(file)
        state = "" if not recorded else "as then" if found == recorded else "changed since"
        return Node(what, path.as_posix(), found, state)

    def _read_dicom(self) -> dict[str, list[str]]:
        """SHA-256 of the DICOM files of each series, as intake read them."""
        from isocenter.dicom.index import list_digests

        return list_digests(self.directory / layout.fill(layout.INTAKE_INDEX, site=self.site))


def _describe(path: Path) -> str:
    name = path.name
    for mark, what in (
        ("_desc-aligned_", "aligned series"), ("_desc-undistorted_", "undistorted series"), ("_desc-fit_", "fit"),
        ("_desc-stderr_", "standard error"), ("_desc-flag_", "flags"), ("_dseg.", "labels"), ("_xfm.", "placement"),
    ):  # fmt: skip
        if mark in name:
            return what
    return "raw file" if "/bids/" in path.as_posix() else "map" if name.endswith("map.nii.gz") else "file"


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table as text; TableError where there is none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))
    except FileNotFoundError:
        raise TableError(explain("A table is missing", where=str(path), remedy="isocenter run makes it")) from None
