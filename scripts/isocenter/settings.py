"""The trial's settings: every file that a person wrote, validated, in one place.

Files of the trial are found relative to its folder; schemas in the repository. Everything that is wrong is said
at once, one line each, before any job starts.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from isocenter import layout
from isocenter.dicom.suffixes import SUFFIXES
from isocenter.documents import read_document, read_phantom, read_rows
from isocenter.entities import Kind, check_label
from isocenter.errors import ConfigError, explain
from isocenter.named_options import resolve_names

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What people decided about a trial.

    root : the trial's folder
    config : ``config/config.yaml``
    biomarkers : the selected blocks, in the order of the config
    claims : the claims about selected biomarkers
    protocol : the trial's protocol
    sites : names of the sites to run
    phantoms : the phantom definitions in use, by type
    """

    root: Path
    config: dict[str, Any]
    biomarkers: dict[str, dict[str, Any]]
    claims: list[dict[str, Any]]
    protocol: dict[str, Any]
    sites: list[str]
    phantoms: dict[str, dict[str, Any]]
    _sites: dict[str, dict[str, Any]]
    _participants: dict[str, list[dict[str, str]]]
    _sessions: dict[str, list[dict[str, str]]]

    def site(self, name: str) -> dict[str, Any]:
        """A site's ``site.yaml``."""
        return self._sites[self._known(name)]

    def participants(self, name: str) -> list[dict[str, str]]:
        """The rows of a site's ``participants.tsv``."""
        return self._participants[self._known(name)]

    def sessions(self, name: str) -> list[dict[str, str]]:
        """The rows of a site's ``sessions.tsv``; empty where there is none."""
        return self._sessions[self._known(name)]

    def _known(self, name: str) -> str:
        if name not in self._sites:
            raise ConfigError(explain("Unknown site", found=name, expected=", ".join(self.sites) or "no site yet"))
        return name


class _Complaints:
    """Collects ConfigErrors, so that a person reads all of them at once."""

    def __init__(self):
        self.lines: list[str] = []

    def collect(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
        """What `function` gives; None when it raises ConfigError, which is kept."""
        try:
            return function(*args, **kwargs)
        except ConfigError as error:
            self.lines += str(error).splitlines()
            return None

    def add(self, what: str, **parts: Any) -> None:
        """Keep one complaint."""
        self.lines.append(explain(what, **parts))

    def raise_if_any(self) -> None:
        """Raise ConfigError with one line a complaint; nothing when there is none."""
        if self.lines:
            raise ConfigError("\n".join(dict.fromkeys(self.lines)))


def load_settings(root: Path) -> Settings:
    """Every file that a person wrote for the trial in `root`, validated against schemas and one another.

    Raises ConfigError with one line per complaint: file, line, key path, expected, found, what to do.
    """
    root = Path(root)
    config = read_document(root / layout.CONFIG, "config", name=layout.CONFIG)
    files = config["files"]
    complaints = _Complaints()
    known = complaints.collect(read_document, root / files["biomarkers"], "biomarkers", name=files["biomarkers"])
    claims = complaints.collect(read_document, root / files["claims"], "claims", name=files["claims"])
    protocol = complaints.collect(read_document, root / files["protocol"], "protocol", name=files["protocol"])
    names = complaints.collect(find_sites, root, config["sites"]) or []
    sites: dict[str, dict[str, Any]] = {}
    participants: dict[str, list[dict[str, str]]] = {}
    sessions: dict[str, list[dict[str, str]]] = {}
    for name in names:
        site = complaints.collect(read_site, root, name)
        people = complaints.collect(read_participants, root, name)
        visits = complaints.collect(read_sessions, root, name)
        if site is not None and people is not None and visits is not None:
            sites[name], participants[name], sessions[name] = site, people, visits
            _check_site(name, site, people, visits, protocol, complaints)
    phantoms = _read_phantoms(root, files["phantoms"], sites, complaints)
    biomarkers = _select_biomarkers(config, known, protocol, complaints)
    for name, block in biomarkers.items():
        resolved = complaints.collect(resolve_names, block["options"], root)
        biomarkers[name] = block if resolved is None else {**block, "options": resolved}
    chosen = _check_claims(files["claims"], claims, known, biomarkers, complaints)
    complaints.raise_if_any()
    return Settings(root, config, biomarkers, chosen, protocol, list(names), phantoms, sites, participants, sessions)


def find_sites(root: Path, chosen: Iterable[str] | None) -> list[str]:
    """The sites to run: those `chosen`, or every folder under ``sites/`` with a site.yaml, "_…" left out."""
    folder = Path(root) / layout.SITES
    if chosen is None:
        found = sorted(path.parent.name for path in folder.glob("*/site.yaml"))
        return [check_label(name, "The site's folder") for name in found if not name.startswith("_")]
    for name in chosen:
        if not (root / layout.fill(layout.SITE_YAML, site=name)).is_file():
            raise ConfigError(
                explain(
                    f"The site {name!r} has no site.yaml",
                    where=f"{layout.CONFIG}, key sites",
                    expected=str(layout.fill(layout.SITE_YAML, site=name)),
                    remedy=f"copy {layout.SITES}/_template to {layout.SITES}/{name} and fill it in, or remove it here",
                )
            )
    return list(chosen)


def read_site(root: Path, name: str) -> dict[str, Any]:
    """A site's ``site.yaml``."""
    path = layout.fill(layout.SITE_YAML, site=name)
    return read_document(root / path, "site", name=str(path))


def read_participants(root: Path, name: str) -> list[dict[str, str]]:
    """The rows of a site's ``participants.tsv``."""
    path = layout.fill(layout.PARTICIPANTS, site=name)
    return read_rows(root / path, "participants", name=str(path))


def read_sessions(root: Path, name: str) -> list[dict[str, str]]:
    """The rows of a site's ``sessions.tsv``; empty where there is none."""
    path = layout.fill(layout.SESSIONS, site=name)
    return read_rows(root / path, "sessions", name=str(path)) if (root / path).is_file() else []


# Checks of one file against another -----------------------------------------------------------------
def _check_site(
    name: str,
    site: dict[str, Any],
    participants: list[dict[str, str]],
    sessions: list[dict[str, str]],
    protocol: dict[str, Any] | None,
    complaints: _Complaints,
) -> None:
    where = str(layout.fill(layout.SITE_YAML, site=name))
    table = str(layout.fill(layout.PARTICIPANTS, site=name))
    if site["site"] != name:
        complaints.add(
            "A site's name is not its folder's",
            where=f"{where}, key site",
            expected=name,
            found=site["site"],
            remedy="make the two the same",
        )
    if protocol is not None and site["protocol"] not in (None, protocol["protocol"]):
        complaints.add(
            "A site follows another protocol than the trial",
            where=f"{where}, key protocol",
            expected=protocol["protocol"],
            found=site["protocol"],
            remedy="name the trial's protocol, or leave the key out",
        )
    _check_unique(participants, "participant_id", table, complaints)
    _check_unique(participants, "source_id", table, complaints)
    _check_unique(site["scanners"], "id", f"{where}, key scanners", complaints)
    _check_unique([s for s in site["scanners"] if s["serial"]], "serial", f"{where}, key scanners", complaints)
    _check_unique(site["phantoms"], "participant_id", f"{where}, key phantoms", complaints)
    kinds = {row["participant_id"]: row["kind"] for row in participants}
    described = {phantom["participant_id"] for phantom in site["phantoms"]}
    for participant in sorted(described):
        if kinds.get(participant) != Kind.PHANTOM:
            complaints.add(
                f"The phantom {participant} is no participant of kind phantom",
                where=f"{where}, key phantoms",
                expected=f"a row {participant} with kind phantom in {table}",
                found=f"kind {kinds[participant]}" if participant in kinds else "no such row",
                remedy="add the row, or mend the label",
            )
    for phantom in site["phantoms"]:
        if phantom.get("thermometer_stderr", 0.0) > phantom["temperature_stderr"]:
            complaints.add(
                "thermometer_stderr is a part of temperature_stderr and cannot be larger",
                where=f"{where}, phantom {phantom['participant_id']}",
                expected=f"at most {phantom['temperature_stderr']:g} degC",
                found=f"{phantom['thermometer_stderr']:g} degC",
                remedy="raise temperature_stderr: it holds the thermometer's error and the reading's",
            )
    for participant, kind in kinds.items():
        if kind == Kind.PHANTOM and participant not in described:
            complaints.add(
                f"The phantom {participant} is not described",
                where=table,
                expected=f"an entry of phantoms in {where} with its type, serial and temperature",
                found="none",
                remedy="add the entry",
            )
    for row in sessions:
        if row["participant_id"] not in kinds:
            complaints.add(
                "A session names an unknown participant",
                where=str(layout.fill(layout.SESSIONS, site=name)),
                expected=f"a participant_id of {table}",
                found=row["participant_id"],
                remedy="mend the label, or add the participant",
            )


def _check_unique(rows: list[dict[str, Any]], key: str, where: str, complaints: _Complaints) -> None:
    values = [row[key] for row in rows]
    for value in dict.fromkeys(v for v in values if values.count(v) > 1):
        complaints.add(
            f"The same {key} stands {values.count(value)} times",
            where=where,
            expected=f"each {key} once",
            found=value,
            remedy="remove or mend the repeated one",
        )


def _read_phantoms(
    root: Path, folder: str, sites: dict[str, dict[str, Any]], complaints: _Complaints
) -> dict[str, dict[str, Any]]:
    types = {phantom["type"] for site in sites.values() for phantom in site["phantoms"]}
    found = {}
    for kind in sorted(types):
        name = f"{folder}/{kind}.yaml"
        definition = complaints.collect(read_phantom, root / name, name=name)
        if definition is not None:
            found[kind] = definition
    return found


def _select_biomarkers(
    config: dict[str, Any],
    known: dict[str, dict[str, Any]] | None,
    protocol: dict[str, Any] | None,
    complaints: _Complaints,
) -> dict[str, dict[str, Any]]:
    if known is None:
        return {}
    for name in config["biomarkers"]:
        if name not in known:
            complaints.add(
                "An unknown biomarker is selected",
                where=f"{layout.CONFIG}, key biomarkers",
                expected=f"one of {', '.join(known)}",
                found=name,
                remedy=f"add a block {name} to {config['files']['biomarkers']}, or mend the name",
            )
    chosen = {name: known[name] for name in config["biomarkers"] if name in known}
    where = config["files"]["biomarkers"]
    _check_unique([{"map": block["map"]} for block in chosen.values()], "map", where, complaints)
    for name, block in chosen.items():
        low, high = block["plausible_range"]
        if not low < high:
            complaints.add(
                "A plausible range is upside down",
                where=f"{where}, key {name}.plausible_range",
                expected="the lower bound first",
                found=block["plausible_range"],
                remedy="swap the two numbers",
            )
        if block["signal"] == "complex" and block["align"] != "none":
            complaints.add(
                f"Complex images of {name} cannot be aligned",
                where=f"{where}, key {name}.align",
                expected="none",
                found=block["align"],
                remedy="set align to none, or fit magnitudes",
            )
        if block["suffix"] not in SUFFIXES:
            complaints.add(
                f"The intake cannot convert the series of {name}",
                where=f"{where}, key {name}.suffix",
                expected=f"one of {', '.join(SUFFIXES)}",
                found=block["suffix"],
                remedy="mend the suffix, or add an entry to scripts/isocenter/dicom/suffixes.py",
            )
        if protocol is not None and block["suffix"] not in protocol["series"]:
            complaints.add(
                f"The protocol does not name the series of {name}",
                where=f"{config['files']['protocol']}, key series",
                expected=block["suffix"],
                found=", ".join(protocol["series"]),
                remedy=f"add a block {block['suffix']}, or mend the suffix in {where}",
            )
    return chosen


def _check_claims(
    where: str,
    claims: dict[str, Any] | None,
    known: dict[str, dict[str, Any]] | None,
    chosen: dict[str, dict[str, Any]],
    complaints: _Complaints,
) -> list[dict[str, Any]]:
    if claims is None or known is None:
        return []
    for index, claim in enumerate(claims["claims"]):
        block = known.get(claim["biomarker"])
        if block is None:
            complaints.add(
                "A claim names an unknown biomarker",
                where=f"{where}, key claims[{index}].biomarker",
                expected=f"one of {', '.join(known)}",
                found=claim["biomarker"],
                remedy="mend the name, or add the biomarker",
            )
        elif claim["roi"] not in block["rois"]:
            complaints.add(
                f"A claim names a region that {claim['biomarker']} is not measured in",
                where=f"{where}, key claims[{index}].roi",
                expected=f"one of {', '.join(block['rois'])}",
                found=claim["roi"],
                remedy="mend the name, or add the region to the biomarker",
            )
    return [claim for claim in claims["claims"] if claim["biomarker"] in chosen]
