"""Everything a report needs, read once: tables, verdicts, calibrations, and where the pictures lie."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from isocenter.calibration.scanners import list_curves
from isocenter.entities import RunKey
from isocenter.io.tables import read_table
from isocenter.io.verdict_history import read_history

#: columns that stay text wherever they occur: "01" is not 1
TEXT = (
    "site", "scanner", "participant_id", "kind", "session", "run", "biomarker", "roi", "unit", "calibration", "map",
    "series", "stage", "reason", "action", "scale", "flags", "flag", "component", "method", "contrast", "form",
    "source", "wording", "coefficient", "delta_source", "context_of_use", "verdict", "reasons", "settle", "sentence",
    "analysis", "design", "validation", "phantom", "serial", "vial", "date", "entity", "calibrated_flag", "lent_maps",
    "quantity", "signal", "state", "events", "rule", "drift", "erosion", "transform_hash", "series_uid", "suffix",
    "disposition", "files", "time", "order", "lower_biomarker", "lower_roi", "upper_biomarker", "upper_roi",
    "site_from", "session_from", "site_to", "session_to", "limit_unit", "call",
)  # fmt: skip

_SITE = re.compile(r"sites/([A-Za-z0-9]+)/")
_RUN = re.compile(r"sub-([A-Za-z0-9]+)_ses-([A-Za-z0-9]+)_run-([A-Za-z0-9]+)")


@dataclass
class Trial:
    """A trial's results as the pages need them.

    tables : every trial table by name (``measurements``, ``exclusions``, ``flow``, the statistics, and the pooled
    ``vials``, ``control``, ``calibrations``, ``checks``, ``motion``, ``shim``), row numbers as index
    verdicts : the onboarding verdict of each site · maps : (run, map name) → path · labels : run → folder ·
    pictures : (run, map name) → path of the located vials · pages : run of a phantom → path of its page ·
    distortions, alignments : (run, suffix) → path of the picture of a corrected, an aligned series ·
    stderrs, flags : (run, map name) → path, as `maps` · motions : (run, suffix) → a row a volume ·
    lineage : (site, participant, session, run, biomarker) → what its values were made from ·
    pulses : (site, biomarker) → the choice of pulses with its candidates ·
    certificates : the page that a site got with its verdict · histories : every verdict of a site, in order ·
    sources : table → its file, copied as it is · problems : what could not be read, one sentence each
    """

    settings: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibrations: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    maps: dict[tuple[RunKey, str], Path] = field(default_factory=dict)
    labels: dict[RunKey, Path] = field(default_factory=dict)
    pictures: dict[tuple[RunKey, str], Path] = field(default_factory=dict)
    pages: dict[RunKey, Path] = field(default_factory=dict)
    distortions: dict[tuple[RunKey, str], Path] = field(default_factory=dict)
    alignments: dict[tuple[RunKey, str], Path] = field(default_factory=dict)
    pulses: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    certificates: dict[str, Path] = field(default_factory=dict)
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    stderrs: dict[tuple[RunKey, str], Path] = field(default_factory=dict)
    flags: dict[tuple[RunKey, str], Path] = field(default_factory=dict)
    motions: dict[tuple[RunKey, str], pd.DataFrame] = field(default_factory=dict)
    lineage: dict[tuple[str, str, str, str, str], Any] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def sites(self) -> list[str]:
        """Every site that anything is known of, sorted."""
        names = set(self.verdicts) | set(self.settings.get("sites", {}))
        for name in ("measurements", "flow", "exclusions"):
            table = self.tables.get(name, pd.DataFrame())
            names |= set(table["site"].astype(str)) if "site" in table else set()
        return sorted(names - {"", "n/a"})

    def rows(self, name: str, **equal: Any) -> pd.DataFrame:
        """The rows of a table whose columns equal the given values; a column that is absent matches nothing."""
        table = self.tables.get(name, pd.DataFrame())
        for column, value in equal.items():
            if column not in table:
                return table.iloc[0:0]
            table = table[table[column] == value]
        return table

    @property
    def biomarkers(self) -> dict[str, dict[str, Any]]:
        """The biomarker blocks of the config."""
        return self.settings.get("biomarkers", {})


def read_trial(
    measurements: Path, exclusions: Path, flow: Path, tables: list[Path], vials: list[Path], calibrations: list[Path],
    verdicts: list[Path], motions: list[Path], maps: list[Path], labels: list[Path], pictures: list[Path],
    settings: dict[str, Any], controls: list[Path] | tuple[Path, ...] = (),
    pages: list[Path] | tuple[Path, ...] = (), pulses: list[Path] | tuple[Path, ...] = (),
    shims: list[Path] | tuple[Path, ...] = (), distortions: list[Path] | tuple[Path, ...] = (),
    alignments: list[Path] | tuple[Path, ...] = (), certificates: list[Path] | tuple[Path, ...] = (),
    histories: list[Path] | tuple[Path, ...] = (), scans: list[Path] | tuple[Path, ...] = (),
    stderrs: list[Path] | tuple[Path, ...] = (), flags: list[Path] | tuple[Path, ...] = (),
) -> Trial:  # fmt: skip
    """Read what :mod:`isocenter.layout` names; a file that cannot be read becomes a problem on the page."""
    trial = Trial(dict(settings), {})
    named = {"measurements": measurements, "exclusions": exclusions, "flow": flow}
    named |= {Path(path).name.removesuffix(".tsv"): path for path in tables}
    for name, path in named.items():
        trial.tables[name] = _table(path, trial)
        trial.sources[name] = Path(path)
    trial.tables["vials"] = _pool([(site_of(p), _table(p, trial)) for p in vials])
    trial.tables["control"] = _pool([(site_of(p), _table(p, trial)) for p in controls])
    trial.tables["scans"] = _pool([(site_of(p), _table(p, trial)) for p in scans])
    trial.tables["motion"] = _motion(motions, trial)
    trial.tables["shim"] = _shims(shims, trial)
    for path in calibrations:
        content = _json(path, trial)
        trial.calibrations[site_of(path), str(content.get("biomarker", Path(path).stem))] = content
    for path in verdicts:
        trial.verdicts[site_of(path)] = _json(path, trial)
    trial.certificates = {site_of(path): Path(path) for path in certificates}
    trial.histories = {site_of(path): read_history(Path(path)) for path in histories}
    trial.tables["calibrations"] = _calibration_table(trial.calibrations)
    trial.tables["checks"] = _check_table(trial.verdicts)
    for paths, found in ((maps, trial.maps), (stderrs, trial.stderrs), (flags, trial.flags)):
        for path in paths:
            name = str(Path(path).name).removesuffix(".nii.gz").rsplit("_", 1)[-1]
            found[run_of(path), name] = Path(path)
    for path in labels:
        trial.labels[run_of(path)] = Path(path)
    for path in pictures:
        name = re.search(r"desc-([A-Za-z0-9]+)_", Path(path).name)
        trial.pictures[run_of(path), name.group(1) if name else "map"] = Path(path)
    for path in distortions:
        trial.distortions[run_of(path), Path(path).stem.rsplit("_", 1)[-1]] = Path(path)
    for path in alignments:
        trial.alignments[run_of(path), _aligned_series(path)] = Path(path)
    for path in pages:
        trial.pages[run_of(path)] = Path(path)
    for path in pulses:
        content = _json(path, trial)
        trial.pulses[site_of(path), str(content.get("biomarker", Path(path).stem))] = content
    return trial


def site_of(path: str | Path) -> str:
    """The site that a result belongs to, from its place under ``sites/``."""
    found = _SITE.search(Path(path).as_posix())
    return found.group(1) if found else "unknown"


def run_of(path: str | Path) -> RunKey:
    """The run that a derivative belongs to, from its BIDS name."""
    found = _RUN.search(Path(path).name)
    return RunKey(site_of(path), *(found.groups() if found else ("unknown", "01", "1")))


def _table(path: Path, trial: Trial) -> pd.DataFrame:
    try:
        return read_table(path, text=TEXT)
    except Exception as error:
        trial.problems.append(f"{type(error).__name__}: {error}")
        return pd.DataFrame()


def _json(path: Path, trial: Trial) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__} in place of named values")
        return content
    except (OSError, ValueError) as error:
        trial.problems.append(f"{Path(path).as_posix()} cannot be read: {error}")
        return {}


def _pool(parts: list[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    frames = []
    for site, table in parts:
        if len(table):
            table = table.drop(columns="site", errors="ignore")
            table.insert(0, "site", site)
            frames.append(table)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _aligned_series(path: str | Path) -> str:
    found = re.search(r"aligned_([A-Za-z0-9]+)_motion", Path(path).name)
    return found.group(1) if found else ""


def _motion(paths: list[Path], trial: Trial) -> pd.DataFrame:
    """One row a series: the largest displacements, and the volumes whose registration was not believed."""
    rows = []
    for path in paths:
        key, table = run_of(path), _table(path, trial)
        if not len(table):
            continue
        trial.motions[key, _aligned_series(path)] = table
        row = {"site": key.site, "participant_id": key.participant, "session": key.session, "run": key.run}
        row["series"] = _aligned_series(path)
        row["n_volumes"] = len(table)
        for column in ("displacement_mm", "framewise_displacement_mm"):
            if column in table:
                row[f"max_{column}"] = float(table[column].abs().max())
        for column in ("residual_before", "residual_after"):
            if column in table:
                row[column] = float(table[column].iloc[0])
        if "used" in table:
            words = table["used"].astype(str)
            row["n_left_in_place"] = int(words.str.startswith("left in place").sum())
            row["n_left_out"] = int(words.str.startswith("left out").sum())
        rows.append(row)
    return pd.DataFrame(rows)


_SHIM_COLUMNS = ("participant_id", "session", "run", "biomarker", "n_voxels", "median", "sd", "range", "fwhm", "reason")
_IN_HERTZ = {name: f"{name}_hz" for name in ("median", "sd", "range", "fwhm")}


def _shims(paths: list[Path] | tuple[Path, ...], trial: Trial) -> pd.DataFrame:
    """One row a map of B0: its shim figures, or why there are none."""
    rows = []
    for path in paths:
        found = _json(path, trial)
        rows.append({"site": site_of(path), **{_IN_HERTZ.get(name, name): found.get(name) for name in _SHIM_COLUMNS}})
    return pd.DataFrame(rows, columns=["site", *(_IN_HERTZ.get(name, name) for name in _SHIM_COLUMNS)])


def _calibration_table(calibrations: dict[tuple[str, str], dict[str, Any]]) -> pd.DataFrame:
    rows = []
    every = [
        (site, biomarker, scanner, curve)
        for (site, biomarker), content in sorted(calibrations.items())
        for scanner, curve in list_curves(content).items()
    ]
    for site, biomarker, scanner, c in every:
        coefficients = list(c.get("coefficients") or [])
        errors = [_root(c.get("covariance"), i) for i in range(len(coefficients))]
        low, high = [*(c.get("valid_range") or []), None, None][:2]
        intercept, slope, curvature = ([*coefficients, None, None, None])[:3]
        checks = c.get("checks") or {}
        rows.append(
            {
                "site": site,
                "biomarker": biomarker,
                "unit": c.get("unit", ""),
                "form": c.get("form", ""),
                "intercept": intercept,
                "intercept_stderr": ([*errors, None])[0],
                "slope": slope,
                "slope_stderr": ([*errors, None, None])[1],
                "curvature": curvature,
                "curvature_stderr": ([*errors, None, None, None])[2],
                "valid_low": low,
                "valid_high": high,
                "n_vials": c.get("n_vials"),
                "loo_rms_percent": checks.get("loo_rms_percent"),
                "rule": c.get("rule", "pooled"),
                "drift": checks.get("drift_note", ""),
                "dates": ", ".join(map(str, c.get("dates") or [])),
                "refused": bool(c.get("refused", False)),
                "reason": c.get("reason") or "",
                "scanner": scanner,
            }
        )
    return pd.DataFrame(rows)


def _root(covariance: Any, i: int) -> float | None:
    try:
        return float(covariance[i][i]) ** 0.5
    except (TypeError, IndexError, ValueError):
        return None


def _check_table(verdicts: dict[str, dict[str, Any]]) -> pd.DataFrame:
    columns = (
        "id",
        "group",
        "scope",
        "parameter",
        "severity",
        "expected",
        "found",
        "tolerance",
        "unit",
        "verdict",
        "remedy",
    )
    rows = [
        {"site": site, **{column: _plain(check.get(column)) for column in columns}}
        for site, verdict in sorted(verdicts.items())
        for check in verdict.get("checks", [])
    ]
    return pd.DataFrame(rows, columns=["site", *columns])


def _plain(value: Any) -> Any:
    """A value of a check as text; lists as comma-separated, absent as empty."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(str(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return str(value)
