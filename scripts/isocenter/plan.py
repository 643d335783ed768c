"""Which jobs a trial needs: what arrived, as the intake wrote it down, turned into inputs and targets.

The rules ask here and hold no logic of their own. Everything is read from ``scans.tsv`` of each site, so a plan
is known only after that site's intake.
"""

import csv
import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from isocenter import layout
from isocenter.dicom.suffixes import is_phase
from isocenter.entities import Disposition, Kind, RunKey
from isocenter.errors import ConfigError, explain
from isocenter.field_plan import FieldPlan
from isocenter.left_out import find_decision
from isocenter.phantom.periods import spread_of_day
from isocenter.phantom_plan import PhantomPlan, entities_of, key_of
from isocenter.settings import Settings

#: The usable intake rows of each run and suffix, in order.
Acquisitions = dict[tuple[RunKey, str], list[dict[str, str]]]
#: The same by run: the rows of its suffixes.
Runs = dict[RunKey, dict[str, list[dict[str, str]]]]


class Plan(PhantomPlan, FieldPlan):
    """The jobs of one trial."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.biomarkers: dict[str, dict[str, Any]] = settings.biomarkers
        self.sites: list[str] = list(settings.sites)
        self._known: dict[str, tuple[int, Acquisitions, Runs]] = {}
        self._tables = {site: str(layout.fill(layout.SCANS, site=site)) for site in self.sites}

    # What arrived ---------------------------------------------------------------------------------
    def scans(self, site: str) -> list[dict[str, str]]:
        """The rows of a site's ``scans.tsv``."""
        path = layout.fill(layout.SCANS, site=site)
        return read_rows(str(path), path.stat().st_mtime_ns)

    def acquisitions(self, site: str) -> Acquisitions:
        """The usable rows of a site by run and suffix (an acquisition may span several DICOM series).

        Snakemake asks several times a job: what was read stays known until the table's time changes.
        """
        return self._read_acquisitions(site)[0]

    def _by_run(self, site: str) -> Runs:
        """The same by run, so that the cost of a job does not grow with the site."""
        return self._read_acquisitions(site)[1]

    def _read_acquisitions(self, site: str) -> tuple[Acquisitions, Runs]:
        stamp = os.stat(self._tables[site]).st_mtime_ns
        known = self._known.get(site)
        if known is None or known[0] != stamp:
            found, runs = self._find_acquisitions(site), {}
            for (key, suffix), rows in found.items():
                runs.setdefault(key, {})[suffix] = rows
            known = self._known[site] = (stamp, found, runs)
        return known[1:]

    def _find_acquisitions(self, site: str) -> Acquisitions:
        found: Acquisitions = {}
        left_out, suffixes = self.settings.left_out(site), self.suffixes
        for row in self.scans(site):
            if row["disposition"] == Disposition.USED and row["suffix"] in suffixes:
                key = RunKey(site, row["participant_id"], row["session"], row["run"])
                if find_decision(left_out, key.participant, key.session, key.run):
                    continue  # a person left the whole run out
                found.setdefault((key, row["suffix"]), []).append(row)
        return dict(sorted(found.items()))

    @property
    def suffixes(self) -> set[str]:
        """The series that the trial's biomarkers need."""
        return {block["suffix"] for block in self.biomarkers.values()}

    def runs(self, site: str, *, phantom: bool) -> list[RunKey]:
        """The runs of a site that hold at least one usable acquisition."""
        held = ((key, next(iter(series.values()))) for key, series in self._by_run(site).items())
        return [key for key, rows in held if (rows[0]["kind"] == Kind.PHANTOM) == phantom]  # they are sorted

    # One acquisition ------------------------------------------------------------------------------
    def raw_files(
        self, site: str, participant: str, session: str, run: str, suffix: str, *, with_phase: bool = False
    ) -> list[str]:
        """The BIDS files of one acquisition, in the order of its values; those of the phase only when asked for."""
        rows = self.acquisitions(site).get((RunKey(site, participant, session, run), suffix), [])
        folder = layout.fill(layout.BIDS, site=site)
        names = {name for row in rows for name in row["files"].split("|") if name.endswith(".nii.gz")}
        wanted = [name for name in names if with_phase or not is_phase(name)]
        return [str(folder / name) for name in sorted(wanted, key=_natural)]

    def phantom_series(self, wildcards: Any) -> list[str]:
        """The raw files of the phantom acquisition that a map was fitted to."""
        return self.raw_files(**entities_of(wildcards), suffix=self.block_of_map(wildcards.map)["suffix"])

    def block_of_map(self, map_name: str) -> dict[str, Any]:
        """The config block of the biomarker whose map is called `map_name`."""
        return self.biomarkers[self.biomarker_of_map(map_name)]

    def biomarker_of_suffix(self, suffix: str) -> dict[str, Any]:
        """The config block that decides how series of this suffix are aligned: the first one that wants it."""
        blocks = [block for block in self.biomarkers.values() if block["suffix"] == suffix]
        return next((block for block in blocks if block["align"] != "none"), blocks[0])

    def biomarker_of_map(self, map_name: str) -> str:
        """The biomarker whose map is called `map_name`."""
        for name, block in self.biomarkers.items():
            if block["map"] == map_name:
                return name
        raise ConfigError(explain("No biomarker has this map", found=map_name, where="config/biomarkers.yaml"))

    def series_to_fit(self, wildcards: Any) -> list[str]:
        """What a map is fitted to: the aligned series, or the raw one where nothing can have moved."""
        block = self.block_of_map(wildcards.map)
        values = entities_of(wildcards)
        if block["signal"] == "complex":
            return self.raw_files(**values, suffix=block["suffix"], with_phase=True)
        if self.is_corrected(values["site"], values["participant"], block):
            return [str(layout.fill(layout.UNDISTORTED, **values, suffix=block["suffix"]))]
        if block["align"] == "none" or self.is_phantom(values["site"], values["participant"]):
            return self.raw_files(**values, suffix=block["suffix"])
        return [str(layout.fill(layout.ALIGNED, **values, suffix=block["suffix"]))]

    def curve_model(self, map_name: str) -> str:
        """The model that draws curves through a phantom's mean signals; "" where maps are lent to the fit."""
        block = self.block_of_map(map_name)
        return block["model"] if block["signal"] == "magnitude" and not block["uses_maps"] else ""

    def used_maps(self, map_name: str) -> dict[str, str]:
        """The maps that a fit makes use of: the name that its model knows to the map's own."""
        used = self.block_of_map(map_name)["uses_maps"]
        return {key: self.biomarkers[name]["map"] for key, name in used.items()}

    def lent_maps(self, wildcards: Any, pattern: str) -> list[str]:
        """The maps of the same run that a fit makes use of, as far as the run holds their series."""
        have = self.run_biomarkers(wildcards)
        names = self.block_of_map(wildcards.map)["uses_maps"].values()
        maps = [self.biomarkers[name]["map"] for name in dict.fromkeys(names) if name in have]
        return [str(layout.fill(pattern, **entities_of(wildcards), map=one)) for one in maps]

    def placements(self, wildcards: Any) -> list[str]:
        """Where each of these maps lies on the series, for those of another scan of people that may have moved."""
        block, values = self.block_of_map(wildcards.map), entities_of(wildcards)
        if block["place_maps"] == "scanner" or self.is_phantom(values["site"], values["participant"]):
            return []
        have = self.run_biomarkers(wildcards)
        lenders = [self.biomarkers[name] for name in dict.fromkeys(block["uses_maps"].values()) if name in have]
        maps = [lender["map"] for lender in lenders if lender["suffix"] != block["suffix"]]
        return [str(layout.fill(layout.PLACEMENT, **values, lender=one, map=wildcards.map)) for one in maps]

    def lending_scan(self, wildcards: Any) -> list[str]:
        """The magnitude images of the scan of a map that is lent."""
        return self.raw_files(**entities_of(wildcards), suffix=self.block_of_map(wildcards.lender)["suffix"])

    def row_of(self, wildcards: Any) -> dict[str, str]:
        """The intake row of a run's first acquisition."""
        key = key_of(wildcards)
        for rows in self._by_run(key.site).get(key, {}).values():
            return rows[0]
        raise ConfigError(explain("This run is not in scans.tsv", found=key.prefix, where=key.site))

    def field_strength(self, wildcards: Any) -> float:
        """The field strength [T] that a run was scanned at."""
        return float(self.row_of(wildcards)["field_strength"])

    def scanner(self, wildcards: Any) -> str:
        """The scanner's name in ``site.yaml``."""
        return self.row_of(wildcards)["scanner"]

    def kind(self, wildcards: Any) -> str:
        """What was scanned: patient, volunteer, traveler or phantom."""
        return self.row_of(wildcards)["kind"]

    def date(self, wildcards: Any) -> str:
        """The date of a phantom's session (people have none in results)."""
        return self.row_of(wildcards)["date"]

    def calibration_day(self, wildcards: Any) -> float | None:
        """Days from the site's first phantom to a run, as exact as results may tell; None where no curve needs it."""
        text = self.row_of(wildcards).get("calibration_day") or "n/a"
        return None if text == "n/a" else float(text)

    def calibration_day_stderr(self, wildcards: Any) -> float:
        """Standard error [days] of :meth:`calibration_day`."""
        is_exact = self.settings.config["dates"] == "keep" or self.kind(wildcards) == Kind.PHANTOM
        return spread_of_day(is_exact)

    def first_phantom_date(self, site: str) -> str | None:
        """The date of a site's first phantom session, which is day 0; None without any."""
        return min(
            (r["date"] for r in self.scans(site) if r["kind"] == Kind.PHANTOM and r["date"][:1].isdigit()), default=None
        )

    # One run --------------------------------------------------------------------------------------
    def run_biomarkers(self, wildcards: Any) -> list[str]:
        """The biomarkers that a run has an acquisition for, in the order of the config."""
        key = key_of(wildcards)
        have = self._by_run(key.site).get(key, {})
        return [name for name, block in self.biomarkers.items() if block["suffix"] in have]

    def run_maps(self, wildcards: Any, pattern: str) -> list[str]:
        """One path a biomarker of a run, from a pattern with ``{map}``."""
        values = entities_of(wildcards)
        return [
            str(layout.fill(pattern, **values, map=self.biomarkers[name]["map"]))
            for name in self.run_biomarkers(wildcards)
        ]

    def run_regions(self, wildcards: Any) -> dict[str, dict[str, Any]]:
        """Where the regions of each map of a run come from."""
        keys = ("regions", "suffix", "contrast", "erosion")
        blocks = (self.biomarkers[name] for name in self.run_biomarkers(wildcards))
        return {block["map"]: {key: block[key] for key in keys} for block in blocks}

    def sent_regions(self, wildcards: Any) -> list[str]:
        """What the site sent about the regions of a run's series."""
        sources = self.run_regions(wildcards).values()
        suffixes = dict.fromkeys(entry["suffix"] for entry in sources if entry["regions"] in ("site", "heart"))
        files = [layout.fill(p, **entities_of(wildcards), suffix=s) for s in suffixes for p in layout.SENT_FILES]
        return [str(path) for path in files if path.is_file()]

    def structural(self, wildcards: Any) -> list[str]:
        """The structural scan that the template is registered to, and the mask of its brain: none, one or both."""
        if self.settings.config["regions"]["brain"]["structural"] == "none":
            return []
        values = {key: entities_of(wildcards)[key] for key in ("site", "participant", "session")}
        scan, mask = (layout.fill(p, **values) for p in (layout.SENT_STRUCTURAL, layout.SENT_BRAIN_MASK))
        return [str(path) for path in (scan, mask) if path.is_file()] if scan.is_file() else []

    def atlas(self) -> list[str]:
        """The label image of the brain's atlas and the table of its names; empty without one."""
        atlas = self.settings.config["regions"]["brain"]["atlas"]
        return [atlas["labels"], atlas["names"]] if atlas else []

    def run_calibrations(self, wildcards: Any) -> list[str]:
        """The calibrations that a run's biomarkers need."""
        return [
            str(layout.fill(layout.CALIBRATION, site=wildcards.site, biomarker=name))
            for name in self.run_biomarkers(wildcards)
            if self.is_calibrated(name)
        ]

    def site_calibrations(self, site: str) -> list[str]:
        """The calibrations of a site."""
        return [
            str(layout.fill(layout.CALIBRATION, site=site, biomarker=name))
            for name in self.biomarkers
            if self.is_calibrated(name)
        ]

    def all_calibrations(self) -> list[str]:
        """The calibrations of every site."""
        return [path for site in self.sites for path in self.site_calibrations(site)]

    def calibration_forms(self, biomarker: str) -> list[str]:
        """The forms of calibration curve that a biomarker may take."""
        return list(self.biomarkers[biomarker].get("calibration_forms", ["none", "gain", "linear"]))

    def calibration_dates(self, biomarker: str) -> str:
        """Which phantom session stands for the day of a scan."""
        return self.biomarkers[biomarker].get("calibration_dates", "pooled")

    def calibrates_by_date(self) -> bool:
        """Whether any biomarker's calibration needs the day of each scan."""
        return any(self.is_calibrated(n) and self.calibration_dates(n) != "pooled" for n in self.biomarkers)

    def is_calibrated(self, biomarker: str) -> bool:
        """Whether a biomarker is calibrated on a phantom."""
        return self.biomarkers[biomarker]["calibration"] == "phantom"

    # The trial ------------------------------------------------------------------------------------
    def per_run(self, pattern: str, *, phantom: bool = False, site: str | None = None) -> list[str]:
        """One path a run, from a pattern without ``{map}``."""
        return [
            str(layout.fill(pattern, site=s, participant=key.participant, session=key.session, run=key.run))
            for s in ([site] if site else self.sites)
            for key in self.runs(s, phantom=phantom)
        ]

    def per_map(self, pattern: str, *, phantom: bool = False, site: str | None = None) -> list[str]:
        """One path a run and biomarker, from a pattern with ``{map}``."""
        return self._per_biomarker(lambda name: pattern, phantom, site)

    def per_aligned(self, pattern: str, *, site: str | None = None) -> list[str]:
        """One path an aligned series, from a pattern with ``{suffix}``."""
        aligned = self._per_biomarker(
            lambda name: pattern if self.biomarkers[name]["align"] != "none" else None, False, site
        )
        return list(dict.fromkeys(aligned))  # several biomarkers may be fitted to one series

    def report_maps(
        self, calibrated: str = layout.CALIBRATED, raw: str = layout.MAP, *, site: str | None = None
    ) -> list[str]:
        """The maps that the report shows (or their errors, or flags): calibrated where the biomarker is, else raw."""
        return self._per_biomarker(lambda name: calibrated if self.is_calibrated(name) else raw, False, site)

    def site_results(self, site: str) -> list[str]:
        """Everything of one site that the trial's tables and report are made from; none of it needs another site."""
        patterns = (
            layout.SCANS, layout.INTAKE_EXCLUSIONS, layout.VIALS, layout.CONTROL, layout.VERDICT, layout.CERTIFICATE,
            layout.VERDICT_HISTORY, *layout.DERIVATIVES_TOP.values(),
        )  # fmt: skip
        found = [str(layout.fill(pattern, site=site)) for pattern in patterns]
        found += [*self.site_calibrations(site), *self.site_pulses(site), *self.shim_files(site)]
        for pattern in (layout.ROIS, layout.RUN_EXCLUSIONS, layout.LABELS):
            found += self.per_run(pattern, site=site)
        for pattern in (layout.MOTION, layout.MOTION_FIGURE):
            found += self.per_aligned(pattern, site=site)
        found += self.report_maps(site=site)
        found += self.report_maps(layout.CALIBRATED_STDERR, layout.MAP_STDERR, site=site)
        found += self.report_maps(layout.CALIBRATED_FLAG, layout.MAP_FLAG, site=site)
        found += self.per_corrected(layout.DISTORTION_FIGURE, site=site)
        return [*found, *self.phantom_pictures(site), *self.phantom_pages(site)]

    def _per_biomarker(
        self, pattern_of: Callable[[str], str | None], phantom: bool, site: str | None = None
    ) -> list[str]:
        """One path a run and biomarker, from the pattern that a biomarker has; none where it has none."""
        return [
            str(
                layout.fill(
                    pattern,
                    site=s,
                    participant=key.participant,
                    session=key.session,
                    run=key.run,
                    map=self.biomarkers[name]["map"],
                    suffix=self.biomarkers[name]["suffix"],
                )
            )
            for s in ([site] if site else self.sites)
            for key in self.runs(s, phantom=phantom)
            for name in self.run_biomarkers(key)
            if (pattern := pattern_of(name)) is not None
        ]

    def report_settings(self) -> dict[str, Any]:
        """What the report says of the trial itself."""
        from isocenter import __version__
        from isocenter.provenance import installed_versions, text_digest

        return {
            "trial": self.settings.config["trial"],
            "version": __version__,
            "biomarkers": self.biomarkers,
            "claims": self.settings.claims,
            "schedule": self.settings.config["schedule"],
            "sites": {site: self.settings.site(site).get("title", site) for site in self.sites},
            "planned": self.planned_runs(),
            "config_hash": text_digest(repr((self.settings.config, self.biomarkers, self.settings.claims))),
            "seed": self.settings.config["seed"],
            "regions": self.settings.config["regions"],
            "phantom_rules": self.settings.protocol.get("phantom", []),
            "versions": installed_versions(),
        }

    # Where a site's files lie -----------------------------------------------------------------------
    def source(self, site: str) -> Path:
        """The folder of a site's DICOM, relative to its own folder unless absolute."""
        return layout.fill(layout.SITE_FOLDER, site=site) / self.settings.site(site)["source"]

    def consoles_file(self) -> list[str]:
        """How consoles name parameters, as a list of none or one."""
        path = self.settings.config["files"]["consoles"]
        return [path] if Path(path).is_file() else []

    def differences_file(self, site: str) -> list[str]:
        """Where a site may differ from the protocol, as a list of none or one."""
        path = layout.fill(layout.DIFFERENCES, site=site)
        return [str(path)] if path.is_file() else []

    def sessions_file(self, site: str) -> list[str]:
        """The optional ``sessions.tsv`` of a site, as a list of none or one."""
        path = layout.fill(layout.SESSIONS, site=site)
        return [str(path)] if path.is_file() else []

    def planned_runs(self) -> dict[str, int]:
        """How many runs of people each site should have sent, by the schedule."""
        schedule = self.settings.config.get("schedule", {})
        return {
            site: sum(
                entry["runs"]
                for person in self.settings.participants(site)
                if person["kind"] != Kind.PHANTOM
                for entry in schedule.get(person["kind"], {}).get("sessions", {}).values()
            )
            for site in self.sites
        }


@lru_cache(maxsize=4096)
def read_rows(path: str, _stamp: int) -> list[dict[str, str]]:
    """The rows of a TSV as text; the stamp (the file's time) keeps a changed file from being remembered."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL))


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
