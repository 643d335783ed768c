"""A trial's raw data and derivatives as BIDS datasets of their own. Paths are relative to the trial's folder.

Each site keeps its two datasets in the places that they have in the results, so that ``bids:`` URIs and hashes of the
sidecars go on holding; what these name of the site and the trial (calibrations, the template) comes along.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from isocenter import layout
from isocenter.dicom.suffixes import GEOMETRY
from isocenter.entities import Disposition
from isocenter.export.dataset import describe_derivatives
from isocenter.export_selection import Exported, Selection, check_out, check_selection, place
from isocenter.io.nifti import write_bytes, write_json
from isocenter.plan import Plan
from isocenter.stamps import find_source

#: Where the datasets of URIs lie in an export, as seen from a site's derivatives.
LINKS = {"raw": "../../bids", "site": "../..", "trial": "../../../trial"}
_LABELS = "_labels"
_TABLES = ("_rois.tsv", "_exclusions.tsv")


def export_bids(
    plan: Plan,
    out: Path,
    selection: Selection,
    *,
    on_progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Exported:
    """Write the selected sites, participants and biomarkers as BIDS: one raw dataset and one of derivatives a site.

    out : a new or empty folder

    Raises ConfigError when the selection or the folder will not do.
    """
    selection, out = check_selection(plan, selection), check_out(out, Path.cwd())
    exported = Exported()
    for done, site in enumerate(selection.sites):
        on_progress(done, len(selection.sites), site)
        _SiteExport(plan, out, site, selection, exported).write()
    on_progress(len(selection.sites), len(selection.sites), "done")
    return exported


class _SiteExport:
    """Writes the two datasets of one site."""

    def __init__(self, plan: Plan, out: Path, site: str, selection: Selection, exported: Exported):
        self.out, self.site, self.selection, self.exported = out, site, selection, exported
        used = [row for row in plan.scans(site) if row["disposition"] == Disposition.USED]
        self.kinds = {row["participant_id"]: row["kind"] for row in used}
        self.kinds = {label: kind for label, kind in self.kinds.items() if label in selection.participants}
        blocks = [plan.biomarkers[name] for name in selection.biomarkers]
        self.maps = [block["map"] for block in blocks]
        self.is_whole = len(blocks) == len(plan.biomarkers)
        self.suffixes = {block["suffix"] for block in blocks}
        self.names = {n for row in used if row["suffix"] in {*self.suffixes, GEOMETRY} for n in row["files"].split("|")}

    def write(self) -> None:
        """Write both datasets, and what their sidecars name of the site and the trial."""
        if not self.kinds:
            self.exported.left_out.append((self.site, "it holds no series of the selection"))
            return
        self._write_raw()
        sidecars = self._write_derivatives()
        for uri in sorted({uri for sidecar in sidecars for uri in sidecar.get("Sources", [])}):
            self._bring(uri)

    def _write_raw(self) -> None:
        root, base = layout.fill(layout.BIDS, site=self.site), place(self.out, layout.EXPORTED_BIDS, site=self.site)
        for path in sorted(root.iterdir()):
            if path.name == "participants.tsv":
                rows = _filter(path, "participant_id", [f"sub-{label}" for label in self.kinds])
                self._write(base / path.name, rows)
            elif path.is_file():
                self._write(base / path.name, path.read_bytes())
        stems = {name.removesuffix(".nii.gz") for name in self.names}
        for path in self._files(root):
            inside = path.relative_to(root)
            # Companions of an image (.json, .bval, .bvec) share its stem.
            if self.is_whole or inside.as_posix().split(".")[0] in stems:
                self._write(base / inside, path.read_bytes())

    def _write_derivatives(self) -> list[dict[str, Any]]:
        root = layout.fill(layout.DERIVATIVES, site=self.site)
        base = place(self.out, layout.EXPORTED_DERIVATIVES, site=self.site)
        for name, text in describe_derivatives(self.site, self.maps, self.kinds, links=LINKS).items():
            self._write(base / name, text.encode())
        sidecars = []
        for path in self._files(root):
            inside = path.relative_to(root)
            if inside.parent.name.endswith(_LABELS):
                sidecars += self._write_labels(path, base / inside.parent)
            elif path.name.endswith(_TABLES):
                self._write(base / inside, _filter(path, "biomarker", [*self.selection.biomarkers, "n/a", ""]))
            elif self.is_whole or _ending(path) & {*self.maps, *self.suffixes}:
                self._write(base / inside, path.read_bytes())
                if path.suffix == ".json":
                    sidecars.append(json.loads(path.read_bytes()))
        return [sidecar for sidecar in sidecars if isinstance(sidecar, dict)]

    def _write_labels(self, path: Path, folder: Path) -> list[dict[str, Any]]:
        """Labels under the name that BIDS has for them: an image, its sidecar and its table a map; the sidecar."""
        name = path.name.split("_dseg.")[0]
        if not path.name.endswith("_dseg.nii.gz") or name not in self.maps:
            return []
        target = folder.parent / f"{folder.name.removesuffix(_LABELS)}_desc-{name}_dseg.nii.gz"
        self._write(target, path.read_bytes())
        stem = target.name.removesuffix(".nii.gz")
        sidecar = json.loads(path.with_name(f"{name}_dseg.json").read_bytes())
        write_json(target.with_name(f"{stem}.json"), sidecar)
        with path.with_name("labels.tsv").open(encoding="utf-8", newline="") as file:
            names: dict[str, list[str]] = {}
            for row in csv.DictReader(file, delimiter="\t"):
                names.setdefault(row["index"], []).append(row["name"])
        rows = "".join(f"{index}\t{', '.join(words)}\n" for index, words in names.items())
        self._write(target.with_name(f"{stem}.tsv"), f"index\tname\n{rows}".encode())
        self.exported.files.append(target.with_name(f"{stem}.json"))
        return [sidecar]

    def _bring(self, uri: str) -> None:
        """Copy a file that a sidecar names, when it is a result: what a site sent may hold identifiers, and stays."""
        if not uri.startswith(("bids:site:", "bids:trial:")):
            return
        path = find_source(uri, self.site)
        inside = uri.split(":", 2)[2]
        pattern = layout.EXPORTED_SITE if uri.startswith("bids:site:") else layout.EXPORTED_TRIAL
        target = place(self.out, f"{pattern}/{{inside}}", site=self.site, inside=inside)
        is_result = path.resolve().is_relative_to(Path(layout.RESULTS).resolve()) and path.is_file()
        if not is_result:
            self.exported.left_out.append((uri, "sources outside results/ stay with the trial"))
        elif not target.exists():
            self._write(target, path.read_bytes())

    def _files(self, root: Path) -> list[Path]:
        """The files of the selected participants, without Snakemake's marks."""
        folders = [root / f"sub-{label}" for label in sorted(self.kinds)]
        found = [path for folder in folders for path in sorted(folder.rglob("*"))]
        return [path for path in found if path.is_file() and not path.name.startswith(".")]

    def _write(self, path: Path, content: bytes) -> None:
        write_bytes(path, content)
        self.exported.files.append(path)


def _ending(path: Path) -> set[str]:
    """The parts of a file's name that may be a map or a suffix: T1map of sub-1_desc-flag_T1map.nii.gz."""
    return {part.removeprefix("desc-") for part in path.name.split(".")[0].split("_")}


def _filter(path: Path, column: str, values: Sequence[str]) -> bytes:
    """A table with the rows whose column is one of some values; whole where it has no such column."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        columns = list(rows.fieldnames or ())
        kept = [row for row in rows if row.get(column) is None or row[column] in values]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    return text.getvalue().encode()
