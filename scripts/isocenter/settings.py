"""The trial's settings: every file that a person wrote, validated, in one place.

Files of the trial are found relative to its folder; schemas in the repository. Everything that is wrong is said
at once, one line each, before any job starts.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isocenter import layout
from isocenter.atlas import check_atlas
from isocenter.biomarker_blocks import select_biomarkers
from isocenter.complaint_list import Complaints, check_unique
from isocenter.dicom.suffixes import NONE, SUFFIXES
from isocenter.documents import read_document, read_phantom, read_rows
from isocenter.entities import Kind, check_label
from isocenter.errors import ConfigError, explain
from isocenter.named_options import resolve_names
from isocenter.protocol_words import check_differences, check_words


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
    _left_out: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def site(self, name: str) -> dict[str, Any]:
        """A site's ``site.yaml``."""
        return self._sites[self._known(name)]

    def participants(self, name: str) -> list[dict[str, str]]:
        """The rows of a site's ``participants.tsv``."""
        return self._participants[self._known(name)]

    def sessions(self, name: str) -> list[dict[str, str]]:
        """The rows of a site's ``sessions.tsv``; empty where there is none."""
        return self._sessions[self._known(name)]

    def left_out(self, name: str) -> list[dict[str, str]]:
        """The rows of a site's ``exclusions.tsv``: what people left out; empty where there is none."""
        return self._left_out.get(self._known(name), [])

    def _known(self, name: str) -> str:
        if name not in self._sites:
            raise ConfigError(explain("Unknown site", found=name, expected=", ".join(self.sites) or "no site yet"))
        return name


def load_settings(root: Path, only: Iterable[str] | None = None) -> Settings:
    """Every file that a person wrote for the trial in `root`, validated against schemas and one another.

    only : the sites that matter now; no file of another one is read

    Raises ConfigError with one line per complaint: file, line, key path, expected, found, what to do.
    """
    root = Path(root)
    config = read_document(root / layout.CONFIG, "config", name=layout.CONFIG)
    files = config["files"]
    complaints = Complaints()
    complaints.collect(check_atlas, root, config["regions"]["brain"]["atlas"])
    known = complaints.collect(read_document, root / files["biomarkers"], "biomarkers", name=files["biomarkers"])
    claims = complaints.collect(read_document, root / files["claims"], "claims", name=files["claims"])
    protocol = complaints.collect(read_document, root / files["protocol"], "protocol", name=files["protocol"])
    check_words(root, files, protocol, complaints)
    names = complaints.collect(find_sites, root, config["sites"], only) or []
    sites: dict[str, dict[str, Any]] = {}
    participants: dict[str, list[dict[str, str]]] = {}
    sessions: dict[str, list[dict[str, str]]] = {}
    left_out: dict[str, list[dict[str, str]]] = {}
    for name in names:
        site = complaints.collect(read_site, root, name)
        people = complaints.collect(read_participants, root, name)
        visits = complaints.collect(read_sessions, root, name)
        left_out[name] = complaints.collect(read_left_out, root, name) or []
        if site is not None and people is not None and visits is not None:
            sites[name], participants[name], sessions[name] = site, people, visits
            _check_site(name, site, people, visits, protocol, complaints)
            check_differences(root, name, protocol, complaints)
            _check_regions(root, name, site, complaints)
    _check_people(participants, complaints)
    phantoms = _read_phantoms(root, files["phantoms"], sites, complaints)
    biomarkers = select_biomarkers(config, known, protocol, complaints)
    for name, block in biomarkers.items():
        resolved = complaints.collect(resolve_names, block["options"], root)
        biomarkers[name] = block if resolved is None else {**block, "options": resolved}
    chosen = _check_claims(files["claims"], claims, known, biomarkers, complaints)
    complaints.raise_if_any()
    tables = (sites, participants, sessions, left_out)
    return Settings(root, config, biomarkers, chosen, protocol, list(names), phantoms, *tables)


def find_sites(root: Path, chosen: Iterable[str] | None, only: Iterable[str] | None = None) -> list[str]:
    """The sites to run: those `chosen`, or every folder under ``sites/`` with a site.yaml, "_…" left out.

    only : of these the ones that matter now, in the order of the others
    """
    folder = Path(root) / layout.SITES
    if only is not None:
        wanted = set(only)
        listed = list(chosen) if chosen is not None else sorted(wanted)
        there = [name for name in listed if (root / layout.fill(layout.SITE_YAML, site=name)).is_file()]
        if unknown := sorted(wanted - set(there)):
            known = there if chosen is not None else find_sites(root, None)
            raise ConfigError(
                explain(
                    f"The site {unknown[0]!r} is none of this trial",
                    where=f"{layout.SITES}/ and {layout.CONFIG}, key sites",
                    expected=f"one of {', '.join(known) or 'no site yet'}",
                    remedy="mend the name, or add the site's folder and, where config.yaml lists sites, its name",
                )
            )
        return [check_label(name, "The site's folder") for name in there if name in wanted]
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


def read_left_out(root: Path, name: str) -> list[dict[str, str]]:
    """The rows of a site's ``exclusions.tsv``; empty where there is none."""
    path = layout.fill(layout.LEFT_OUT, site=name)
    return read_rows(root / path, "exclusions", name=str(path)) if (root / path).is_file() else []


# Checks of one file against another -----------------------------------------------------------------
def _check_site(
    name: str,
    site: dict[str, Any],
    participants: list[dict[str, str]],
    sessions: list[dict[str, str]],
    protocol: dict[str, Any] | None,
    complaints: Complaints,
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
    check_unique(participants, "participant_id", table, complaints)
    check_unique(participants, "source_id", table, complaints)
    check_unique(site["scanners"], "id", f"{where}, key scanners", complaints)
    check_unique([s for s in site["scanners"] if s["serial"]], "serial", f"{where}, key scanners", complaints)
    check_unique(site["phantoms"], "participant_id", f"{where}, key phantoms", complaints)
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
    for index, rule in enumerate(site["series"]):
        if rule["suffix"] not in (*SUFFIXES, NONE):
            complaints.add(
                "A rule names an unknown kind of series",
                where=f"{where}, key series[{index}].suffix",
                expected=f"one of {', '.join(SUFFIXES)}, or {NONE}",
                found=rule["suffix"],
                remedy="mend the suffix",
            )
    scanners = [scanner["id"] for scanner in site["scanners"]]
    for index, statement in enumerate(site["readouts"]):
        if statement["scanner"] not in ("", *scanners):
            complaints.add(
                "A statement about readouts names an unknown scanner",
                where=f"{where}, key readouts[{index}].scanner",
                expected=f"one of {', '.join(scanners)}, or no key",
                found=statement["scanner"],
                remedy="mend the id",
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


def _check_people(participants: dict[str, list[dict[str, str]]], complaints: Complaints) -> None:
    """One label is one person in all tables of the trial; only travelers are scanned at several sites.

    Phantoms apart: each site has its own, and their labels never leave the site.
    """
    places: dict[str, dict[str, str]] = {}
    for site, rows in participants.items():
        for row in rows:
            if row["kind"] != Kind.PHANTOM:
                places.setdefault(row["participant_id"], {})[site] = row["kind"]
    for participant, kinds in places.items():
        if len(kinds) > 1 and set(kinds.values()) != {Kind.TRAVELER}:
            complaints.add(
                f"The participant {participant} stands at several sites, and would count as one person",
                where=", ".join(str(layout.fill(layout.PARTICIPANTS, site=site)) for site in kinds),
                expected="one site, or kind traveler at each of them",
                found=", ".join(f"{kind} at {site}" for site, kind in kinds.items()),
                remedy="give two people two labels (for instance A01 and B01); say traveler where it is one person",
            )


def _check_regions(root: Path, name: str, site: dict[str, Any], complaints: Complaints) -> None:
    """A file of vial regions whose name fits no scan would be passed over in silence."""
    phantoms = {phantom["participant_id"] for phantom in site["phantoms"]}
    pattern = Path(layout.HAND_REGIONS).name
    groups = {"participant": "|".join(map(re.escape, phantoms)) or "(?!)", "suffix": "|".join(SUFFIXES)}
    expected = re.compile(
        pattern.format(session="[A-Za-z0-9]+", run="[0-9]+", **{k: f"({v})" for k, v in groups.items()})
    )
    folder = root / layout.fill(layout.SITE_FOLDER, site=name) / Path(layout.HAND_REGIONS).parent.name
    for path in sorted(folder.glob("*_vials.tsv")):
        if not expected.fullmatch(path.name):
            complaints.add(
                "A file of vial regions is named for no scan of a phantom",
                where=path.relative_to(root).as_posix(),
                expected=f"{pattern} with a phantom of the site ({', '.join(sorted(phantoms)) or 'it has none'}) and "
                f"one of {', '.join(SUFFIXES)}",
                found=path.name,
                remedy="rename the file",
            )


def _read_phantoms(
    root: Path, folder: str, sites: dict[str, dict[str, Any]], complaints: Complaints
) -> dict[str, dict[str, Any]]:
    types = {phantom["type"] for site in sites.values() for phantom in site["phantoms"]}
    found = {}
    for kind in sorted(types):
        name = f"{folder}/{kind}.yaml"
        definition = complaints.collect(read_phantom, root / name, name=name)
        if definition is not None:
            found[kind] = definition
    return found


def _check_claims(
    where: str,
    claims: dict[str, Any] | None,
    known: dict[str, dict[str, Any]] | None,
    chosen: dict[str, dict[str, Any]],
    complaints: Complaints,
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
