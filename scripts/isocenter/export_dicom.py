"""Maps, regions and measurements of a trial as DICOM. Paths are relative to the trial's folder, as the plan's are.

Patients are the trial's pseudonyms, and then the source DICOM is never opened. Their identifiers come back on request
only, from source files that are still those that intake read, and the request is an entry of the audit log before the
first such file is written.
"""

import csv
import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from isocenter import audit, layout
from isocenter.dicom.headers import Image
from isocenter.dicom.index import read_sources
from isocenter.dicom.originals import Places, find_files, read_originals
from isocenter.entities import RunKey
from isocenter.errors import DicomError, explain
from isocenter.export.identity import IDENTIFYING, Identity, pseudonym, real
from isocenter.export_selection import Exported, Selection, check_out, check_selection, list_runs, place
from isocenter.io.nifti import read_labels, read_sidecar, read_volume, sidecar_path, write_bytes
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.io.tables import read_table
from isocenter.plan import Plan
from isocenter.provenance import file_digest
from isocenter.stamps import find_source

#: Series numbers of exports begin here, above those of scanners.
FIRST_SERIES = 90000
#: The kinds of map, their words, and whether each is a standard error.
KINDS = {
    layout.MAP: ("", False),
    layout.MAP_STDERR: (", standard error", True),
    layout.CALIBRATED: (", calibrated", False),
    layout.CALIBRATED_STDERR: (", calibrated, standard error", True),
}


@dataclass(frozen=True)
class _Job:
    """One map to export."""

    key: RunKey
    biomarker: str
    pattern: str
    path: Path

    @property
    def entities(self) -> dict[str, str]:
        """What fills the layout's patterns."""
        key = self.key
        return {"site": key.site, "participant": key.participant, "session": key.session, "run": key.run}


def export_dicom(
    plan: Plan,
    out: Path,
    selection: Selection,
    *,
    with_report: bool = False,
    reason: str | None = None,
    who: str = "",
    on_progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Exported:
    """Write the selected maps as Parametric Maps; with `with_report` their regions and measurements, too.

    out : a new or empty folder
    reason : of who wants the patients' own identifiers in the files; None writes the trial's pseudonyms

    Raises
    ------
    ConfigError
        When the selection or the folder will not do.
    DicomError
        When identifiers are wanted and the source DICOM is not, or no longer, what intake read.
    AuditError
        When identifiers are wanted without a reason.
    """
    trial = Path.cwd()
    selection, out = check_selection(plan, selection), check_out(out, trial)
    exporter = _Exporter(plan, out, _time_of(trial), is_real=reason is not None)
    jobs = exporter.list_jobs(selection)
    if reason is not None:
        exporter.read_identities(jobs)
        people = sorted({f"{job.key.site} {job.key.participant}" for job in jobs})
        what = f"export with the patients' identifiers: {len(jobs)} maps of {', '.join(people) or 'nobody'}"
        # No digest of the manifest: verify holds it against the last one recorded, and an export made no result.
        audit.append_entry(trial, "export", what, why=reason, who=who)
    runs = list(dict.fromkeys(job.key for job in jobs))
    for done, key in enumerate(runs):
        on_progress(done, len(runs), f"{key.site} {key.prefix}")
        exporter.export_run([job for job in jobs if job.key == key], with_report=with_report)
    on_progress(len(runs), len(runs), "done")
    return exporter.outcome


def _time_of(trial: Path) -> datetime:
    """When the results were made: the last run of the audit log, else the time of the table of measurements."""
    runs = [entry for entry in audit.read_log(trial) if entry.kind == "run"]
    if runs:
        return datetime.fromisoformat(runs[-1].time)
    table = trial / layout.MEASUREMENTS
    return datetime.fromtimestamp(int(table.stat().st_mtime) if table.is_file() else 0, UTC)


class _Exporter:
    """Writes the objects of runs; each map's sources are looked up in its site's index once."""

    def __init__(self, plan: Plan, out: Path, time: datetime, *, is_real: bool):
        self.plan, self.out, self.time, self.is_real = plan, out, time, is_real
        self.outcome = Exported()
        self._indexes: dict[str, tuple[dict[str, Any], dict[str, list[Image]]]] = {}
        self._places: dict[str, Places] = {}
        self._identities: dict[tuple[str, frozenset[str]], Identity] = {}
        self._sources: dict[tuple, Any] = {}
        self._measurements: list[dict[str, str]] | None = None

    def list_jobs(self, selection: Selection) -> list[_Job]:
        """Every map of the selection that holds something; the others are left out with their reason."""
        jobs = []
        for key in list_runs(self.plan, selection):
            for biomarker in self.plan.run_biomarkers(key):
                if biomarker not in selection.biomarkers:
                    continue
                for pattern in KINDS:
                    job = _Job(key, biomarker, pattern, Path())
                    path = layout.fill(pattern, **job.entities, map=self.plan.biomarkers[biomarker]["map"])
                    if not path.is_file() or not sidecar_path(path).is_file():
                        continue
                    why = _refuse(read_sidecar(path))
                    if why:
                        self.outcome.left_out.append((path.name, why))
                    else:
                        jobs.append(_Job(key, biomarker, pattern, path))
        if not jobs:
            raise DicomError(
                explain("The selection holds no map", found=f"{len(self.outcome.left_out)} maps that hold no value",
                        remedy="isocenter run makes the maps; isocenter status says what failed")
            )  # fmt: skip
        return jobs

    # Where a map comes from -------------------------------------------------------------------------
    def series_of(self, job: _Job) -> list[list[Image]]:
        """The images of the series that a map was made from, the series of its own grid first."""
        _, known = self._index(job.key.site)
        found = []
        for uid in _find_series(job.path, job.key.site, set()):
            usable = {image.sop_uid: image for image in known.get(uid, []) if not image.problem and image.frames}
            if usable:
                found.append([usable[sop] for sop in sorted(usable)])
        return found

    def _index(self, site: str) -> tuple[dict[str, Any], dict[str, list[Image]]]:
        if site not in self._indexes:
            self._indexes[site] = read_sources(layout.fill(layout.INTAKE_INDEX, site=site))
        return self._indexes[site]

    def read_identities(self, jobs: Sequence[_Job]) -> None:
        """Read the identifiers of every map's series from the source DICOM, before anything is written."""
        for job in jobs:
            self.identify(job)

    def identify(self, job: _Job) -> Identity:
        """Whom the objects of a map name."""
        if not self.is_real:
            return pseudonym(job.key.site, job.key.participant, job.key.session)
        site = job.key.site
        series = frozenset(images[0].series_uid for images in self.series_of(job))
        if (site, series) not in self._identities:
            index = self._index(site)[0]
            if site not in self._places:
                unpacked = layout.fill(layout.SITE_FOLDER, site=site) / layout.UNPACKED
                self._places[site] = find_files(self.plan.source(site), unpacked, index)
            originals = read_originals(self._places[site], index, series, IDENTIFYING)
            identity = real(originals.values, originals.uids)
            if "StudyInstanceUID" not in identity.values:
                raise DicomError(explain("The source DICOM names no study", where=job.path.name,
                                         expected="Study Instance UID (0020,000D)"))  # fmt: skip
            self._identities[site, series] = identity
        return self._identities[site, series]

    # What is written --------------------------------------------------------------------------------
    def export_run(self, jobs: Sequence[_Job], *, with_report: bool) -> None:
        """Write the objects of one run; what fails is left out with its reason."""
        # highdicom warns of a name without a family name, and prints it: a terminal and its log are no place for names.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The string .* person name")
            self._export_run(jobs, with_report=with_report)

    def _export_run(self, jobs: Sequence[_Job], *, with_report: bool) -> None:
        maps: dict[tuple[str, str], Any] = {}
        self._sources.clear()
        for job in jobs:
            try:
                maps[job.biomarker, job.pattern] = self._write_map(job)
            except Exception as error:  # one map that cannot leave must not stop the others
                self.outcome.left_out.append((job.path.name, Exclusion.from_error("export", error).reason))
        if not with_report:
            return
        measured = []
        for job in jobs:
            if job.pattern == layout.MAP and (job.biomarker, job.pattern) in maps:
                try:
                    measured += self._write_regions(job, maps)
                except Exception as error:
                    reason = Exclusion.from_error("export", error).reason
                    self.outcome.left_out.append((f"regions of {job.path.name}", reason))
        if measured:
            self._write_report(jobs[0], measured)

    def _write_map(self, job: _Job):
        from isocenter.export.parametric_map import build_parametric_map

        block, identity = self.plan.biomarkers[job.biomarker], self.identify(job)
        sidecar, volume = read_sidecar(job.path), read_volume(job.path)
        words, is_stderr = KINDS[job.pattern]
        title = f"{job.biomarker}: {block['title']}{words}"
        made = build_parametric_map(
            volume.data, volume.affine, parameter=block["parameter"], unit=sidecar.get("Units", ""), sidecar=sidecar,
            sources=self._refer(job, identity, sidecar), identity=identity, is_stderr=is_stderr,
            description=self._describe(job, job.pattern, file_digest(job.path), title, sidecar),
        )  # fmt: skip
        self._save(layout.EXPORTED_MAPS[job.pattern], job, made)
        return made

    def _refer(self, job: _Job, identity: Identity, sidecar: dict[str, Any]):
        """The sources of a map for highdicom; those of one scan's maps are the same, and take longest to write down."""
        from isocenter.export.sources import find_thickness, refer_to

        series = self.series_of(job)
        uids = tuple(images[0].series_uid for images in series)
        key = (*uids, identity.values["StudyInstanceUID"], find_thickness(sidecar))
        if key not in self._sources:
            self._sources[key] = refer_to(series, identity, sidecar)
        return self._sources[key]

    def _write_regions(self, job: _Job, maps: dict[tuple[str, str], Any]) -> list[Any]:
        """Write the regions of a map that were measured; their measurements for the report."""
        from isocenter.export.measurement_report import Measured
        from isocenter.export.segmentation import Region, build_segmentation

        rows = [row for row in self._rows(job.key) if row["biomarker"] == job.biomarker]
        if not rows:
            return []
        block, folder = self.plan.biomarkers[job.biomarker], layout.fill(layout.LABELS, **job.entities)
        path = folder / f"{block['map']}_dseg.nii.gz"
        labels, affine = read_labels(path)
        numbers = read_table(folder / "labels.tsv", text=("name",)).groupby("name")["index"].apply(list)
        is_drawn = block["regions"] == "site"
        regions = [Region(row["roi"], np.isin(labels, numbers.get(row["roi"], [])), is_drawn) for row in rows]
        for row, region in zip(rows, regions, strict=True):
            if int(region.mask.sum()) != int(row["n_voxels"]):
                raise DicomError(
                    explain("A region is not the one that was measured", where=f"{path}, {row['roi']}",
                            expected=f"{row['n_voxels']} voxels", found=int(region.mask.sum()),
                            remedy="isocenter verify says what was changed; isocenter run measures again")
                )  # fmt: skip
        sidecar, identity = read_sidecar(job.path), self.identify(job)
        description = self._describe(job, "dseg", file_digest(path), f"{job.biomarker}: regions", sidecar)
        sources = self._refer(job, identity, sidecar)
        made = build_segmentation(
            regions, affine, sidecar=sidecar, sources=sources, identity=identity, description=description
        )
        self._save(layout.EXPORTED_SEGMENTATION, job, made)
        volume = float(abs(np.linalg.det(affine[:3, :3])))
        return [
            Measured(
                row={column: _number(value) for column, value in row.items()}, biomarker=job.biomarker,
                unit=row["unit"], parameter=block["parameter"], is_mean=block["roi_statistic"] == "mean",
                region=region, segmentation=made, segment=number, fitted=maps[job.biomarker, layout.MAP],
                calibrated=maps.get((job.biomarker, layout.CALIBRATED)), sources=sources, voxel_volume=volume,
                key=description.key,
            )
            for number, (row, region) in enumerate(zip(rows, regions, strict=True), start=1)
        ]  # fmt: skip

    def _write_report(self, job: _Job, measured: list[Any]) -> None:
        from isocenter.export.measurement_report import build_report

        digest = hashlib.sha256(repr([(one.key, one.row) for one in measured]).encode()).hexdigest()
        description = self._describe(job, "measurements", digest, f"Region measurements, run {job.key.run}", {})
        made = build_report(measured, session=job.key.session, identity=self.identify(job), description=description)
        self._save(layout.EXPORTED_REPORT, job, made)

    def _describe(self, job: _Job, what: str, digest: str, title: str, sidecar: dict[str, Any]):
        from isocenter.export.parametric_map import Description

        biomarkers, kinds = list(self.plan.biomarkers), [*KINDS, "dseg", "measurements"]
        number = (int(job.key.run) * len(biomarkers) + biomarkers.index(job.biomarker)) * 10 + kinds.index(what)
        made = (sidecar.get("GeneratedBy") or [{}])[0]
        label = "".join(c for c in self.plan.biomarkers[job.biomarker]["map"].upper() if c.isascii())[:16]
        key = (self.plan.settings.config["trial"], *job.entities.values(), job.biomarker, Path(what).name, digest)
        return Description(key, FIRST_SERIES + number, label, title, self.time,
                           str(made.get("CodeDigest", "")))  # fmt: skip

    def _rows(self, key: RunKey) -> list[dict[str, str]]:
        if self._measurements is None:
            with Path(layout.MEASUREMENTS).open(encoding="utf-8", newline="") as file:
                self._measurements = list(csv.DictReader(file, delimiter="\t"))
        entities = (key.site, key.participant, key.session, key.run)
        columns = ("site", "participant_id", "session", "run")
        return [row for row in self._measurements if tuple(row[column] for column in columns) == entities]

    def _save(self, pattern: str, job: _Job, dataset: Any) -> None:
        names = {"map": self.plan.biomarkers[job.biomarker]["map"]} if "{map}" in pattern else {}
        path = place(self.out, pattern, **job.entities, **names)
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        write_bytes(path, buffer.getvalue())
        self.outcome.files.append(path)


def _refuse(sidecar: dict[str, Any]) -> str:
    """Why a map is not exported; "" when it is."""
    excluded = read_exclusion(sidecar)
    if excluded is not None:
        return excluded.reason
    calibration = sidecar.get("Calibration") or {}
    return f"it is not calibrated: {calibration.get('reason')}" if calibration.get("refused") else ""


def _find_series(image: Path, site: str, seen: set[Path]) -> list[str]:
    """UIDs of the DICOM series that an image comes from, along the sources of its sidecar; its own grid's first."""
    if image in seen or not sidecar_path(image).is_file():
        return []
    seen.add(image)
    sidecar = read_sidecar(image)
    uids = sidecar.get("SourceSeriesInstanceUID", [])
    found = list(uids) if isinstance(uids, list) else [uids]
    if not found:
        images = [find_source(uri, site) for uri in sidecar.get("Sources", []) if uri.endswith(".nii.gz")]
        found = [uid for path in images for uid in _find_series(path, site, seen)]
    return list(dict.fromkeys(found))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
