"""Sites that were run by themselves: held against one another, brought into one folder, found complete.

Nothing is pooled of which it is not known what it was made with. Each site's record says so; its audit trail vouches
for the record and for every other file, and what was edited, cut short or added on the way is refused by name.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from isocenter import audit, layout
from isocenter.documents import read_document
from isocenter.errors import AuditError, ConfigError, explain
from isocenter.holder import find_holder
from isocenter.io.nifti import write_bytes, write_json
from isocenter.manifest import Manifest, Snapshot, read_manifest, take_snapshot
from isocenter.mend import find_damaged
from isocenter.origins import TAKEN_IN, TRAIL, list_origins, name_trail
from isocenter.plan import Plan
from isocenter.provenance import file_digest
from isocenter.settings import load_settings
from isocenter.trial_digests import digest_site, list_site, site_digests, withhold_identifiers
from isocenter.verify_command import check_trail

#: What the sites of a pool must have in common, and what each is called.
SHARED = {"code": "another version of the code", "config": "another config", "environment": "another lock of packages"}
#: Beside the trail of a site that was taken in: what people had written for it, and its results, as digests.
_TAKEN = "taken.json"


@dataclass(frozen=True)
class Origin:
    """A site in the folder where it was run. rows : of the manifest there, the site's own and the template's."""

    directory: Path
    site: str
    rows: Manifest
    template: Manifest


def find_origins(
    directory: Path, folders: Sequence[Path], on_progress: Callable[[str], None] = lambda text: None
) -> list[Origin]:
    """The sites that lie ready in `folders`, checked to the last file, for the trial in `directory`.

    Raises
    ------
    ConfigError
        When a folder holds no site that was run to its end, two hold the same one, or one was made with other code,
        config or packages than this trial's.
    AuditError
        When results are not as a run wrote them.
    """
    found: dict[str, Origin] = {}
    elsewhere = set(list_origins(directory))
    listed = read_document(directory / layout.CONFIG, "config", name=layout.CONFIG)["sites"]
    for folder in folders:
        origins = _read_folder(folder)
        present = take_snapshot(folder)
        for origin in origins:
            if origin.site in found:
                raise ConfigError(
                    explain(
                        f"Two folders hold the site {origin.site}",
                        found=f"{found[origin.site].directory} and {folder}",
                        remedy="name the one that counts",
                    )
                )
            if listed is not None and origin.site not in listed:
                raise ConfigError(
                    explain(
                        f"The site {origin.site} is none of this trial",
                        where=f"{layout.CONFIG}, key sites",
                        expected=", ".join(listed),
                        remedy=f"leave {folder} out, or add the site to the list, here and where sites are run",
                    )
                )
            if origin.site not in elsewhere and (directory / layout.fill(layout.SITE, site=origin.site)).exists():
                raise ConfigError(
                    explain(
                        f"The site {origin.site} has results here that were not taken in",
                        where=str(directory / layout.fill(layout.SITE, site=origin.site)),
                        remedy=f"leave {folder} out, or pool in a folder without them",
                    )
                )
            on_progress(f"checking {origin.site}")
            check_record(directory, origin.directory, origin.site)
            _check_files(origin, present)
            found[origin.site] = origin
    _check_templates(directory, list(found.values()))
    return list(found.values())


def _read_folder(folder: Path) -> list[Origin]:
    if not (folder / layout.SITES).is_dir():
        raise ConfigError(
            explain(
                "This is no folder of a site's run",
                where=str(folder),
                expected=f"a trial's folder with {layout.SITES}/ and {layout.RESULTS}/",
                remedy="name the folder in which isocenter run --site was called",
            )
        )
    if (holder := find_holder(folder)) is not None or (folder / layout.OPEN_RUN).is_file():
        raise AuditError(
            explain(
                "A run goes on in this folder, or one was killed",
                where=str(folder),
                found=holder or layout.OPEN_RUN,
                remedy="wait until it has ended, or call isocenter run there again",
            )
        )
    manifest = read_manifest(folder)
    if manifest is None or not (folder / layout.AUDIT_LOG).is_file():
        raise AuditError(
            explain(
                "These results have no audit trail",
                where=str(folder / layout.AUDIT),
                expected="log.jsonl and manifest.tsv",
                remedy="run the site by isocenter run --site, and send results/ whole",
            )
        )
    for finding in check_trail(folder):
        raise AuditError(
            explain(
                f"The audit trail of a site's folder does not hold: {finding.path}: {finding.what}",
                where=str(folder), expected=finding.expected, found=finding.found, remedy="send the folder again",
            )
        )  # fmt: skip
    pattern = layout.fill(layout.SITE_RECORD, site="*").as_posix()
    sites = sorted(path.parent.name for path in folder.glob(pattern))
    elsewhere = set(list_origins(folder))
    if not sites:
        raise ConfigError(
            explain(
                "No site was run to its end in this folder",
                where=str(folder),
                expected=pattern,
                remedy="isocenter run --site NAME there; it writes the record last",
            )
        )
    template = {path: row for path, row in manifest.items() if path.startswith(f"{layout.TEMPLATE}/")}
    found = []
    for site in sites:
        if site not in elsewhere:  # a pool of pools would lose the trail of whoever ran the site
            start = f"{layout.fill(layout.SITE, site=site)}/"
            rows = {path: row for path, row in manifest.items() if path.startswith(start)}
            found.append(Origin(folder, site, rows, template))
    if not found:
        raise ConfigError(
            explain(
                "The sites of this folder were run elsewhere and taken in",
                where=str(folder),
                found=", ".join(sites),
                remedy="name the folders in which they were run",
            )
        )
    return found


def check_record(here: Path, folder: Path, site: str) -> None:
    """Hold the record of a site in `folder` against the trial in `here`: ConfigError says what is another."""
    path = folder / layout.fill(layout.SITE_RECORD, site=site)
    if not path.is_file():
        raise ConfigError(
            explain(
                f"The site {site} was not run to its end",
                where=str(path),
                expected="the record that its run writes last",
                found="no file",
                remedy=f"isocenter run --site {site}",
            )
        )
    then = _check_shared(here, path, site)
    now = digest_site(folder, site)
    if then["site"] != now:
        raise ConfigError(
            explain(
                f"What people wrote for {site} has changed since its run",
                where=str(folder / layout.fill(layout.SITE_FOLDER, site=site)),
                expected=f"site {then['site'][:12]}",
                found=f"site {now[:12]}",
                remedy=f"isocenter run --site {site}, and pool again",
            )
        )


def _check_shared(here: Path, path: Path, site: str) -> dict[str, str]:
    """The digests of a record, once they have in common with the trial in `here` what they must."""
    then = json.loads(path.read_text(encoding="utf-8"))["digests"]
    now = site_digests(here, site)
    for key, what in SHARED.items():
        if then[key] != now[key]:
            raise ConfigError(
                explain(
                    f"The site {site} was run with {what} than this trial's",
                    where=str(path),
                    expected=f"{key} {now[key][:12]}, as in {here}",
                    found=f"{key} {then[key][:12]}",
                    remedy=f"bring both to the same {'config/' if key == 'config' else 'version of Isocenter'}, "
                    f"isocenter run --site {site} where its data lie, and pool again",
                )
            )
    return then


def _check_files(origin: Origin, present: Snapshot) -> None:
    """Every file of the site is as its run recorded it, and there is no other. present : all results of its folder"""
    start = f"{layout.fill(layout.SITE, site=origin.site)}/"
    extra = sorted(path for path in present.keys() - origin.rows.keys() if path.startswith(start))
    wrong = [f"{path}: not recorded by a run" for path in extra]
    for path, row in {**origin.rows, **origin.template}.items():
        file = origin.directory / path
        if not file.is_file():
            wrong.append(f"{path}: missing")
        elif file.stat().st_size != row.size or file_digest(file) != row.sha256:
            wrong.append(f"{path}: changed")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise AuditError(
            explain(
                f"Results of {origin.site} are not as its run wrote them",
                where=str(origin.directory),
                found="; ".join(wrong[:3]) + more,
                remedy=f"send the folder again; isocenter verify there names each, isocenter run --site {origin.site} "
                "makes them again",
            )
        )


def _check_templates(directory: Path, origins: list[Origin]) -> None:
    """The template that regions come from is the same everywhere."""
    here = read_manifest(directory) or {}
    first = {path: row for path, row in here.items() if path.startswith(f"{layout.TEMPLATE}/")}
    for origin in origins:
        first = first or origin.template
        if origin.template and origin.template != first:
            raise ConfigError(
                explain(
                    f"The template of {origin.site} is another than that of the other sites",
                    where=str(origin.directory / layout.TEMPLATE),
                    remedy="see to it that the packages are those of the lock, and run the site again",
                )
            )


# Taking in ------------------------------------------------------------------------------------------
def take_in(directory: Path, origins: Sequence[Origin], on_progress: Callable[[str], None] = lambda text: None) -> int:
    """Bring sites that :func:`find_origins` has checked into the trial's folder; returns how many were new or changed.

    Results, what people wrote for the site (identifiers of participants withheld), drawn regions and the audit trail
    come along; DICOM does not. Each site is an entry of the log.

    Raises ConfigError, before a site's first file is written, when what people wrote for it was changed here.
    """
    changed = [origin for origin in origins if not _is_taken(directory, origin)]
    for origin in changed:
        _check_unchanged_here(directory, origin)
    for origin in changed:
        on_progress(f"taking in {origin.site}")
        _write_site_folder(directory, origin)
        _copy_results(directory, origin)
        trail = name_trail(directory, origin.site)
        for name, path in TRAIL.items():
            write_bytes(trail[name], (origin.directory / path).read_bytes())
        write_json(_taken_path(directory, origin.site), _describe(origin))
        audit.append_entry(
            directory,
            "pool",
            f"{TAKEN_IN}{origin.site}: {len(origin.rows)} results",
            digests={f"site {name}": file_digest(path) for name, path in trail.items()},
        )
    return len(changed)


def _describe(origin: Origin) -> dict[str, str]:
    return {
        "record": origin.rows[str(layout.fill(layout.SITE_RECORD, site=origin.site))].sha256,
        "manifest": file_digest(origin.directory / layout.MANIFEST),
        "site": digest_site(origin.directory, origin.site),
    }


def _taken_path(directory: Path, site: str) -> Path:
    return directory / layout.fill(layout.ORIGIN, site=site) / _TAKEN


def _is_taken(directory: Path, origin: Origin) -> bool:
    """Whether exactly these results were taken in, and still are what they were."""
    path = _taken_path(directory, origin.site)
    if not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != _describe(origin):
        return False
    files = {path: directory / path for path in origin.rows}
    return all(f.is_file() and f.stat().st_size == origin.rows[path].size for path, f in files.items())


def _check_unchanged_here(directory: Path, origin: Origin) -> None:
    """Decisions that people made here about a site must not be lost under what comes from there."""
    here = {path.name: path for path in list_site(directory, origin.site)}
    if not here:
        return
    known = {digest_site(origin.directory, origin.site)}
    if (path := _taken_path(directory, origin.site)).is_file():
        known.add(json.loads(path.read_text(encoding="utf-8"))["site"])
    if digest_site(directory, origin.site) not in known:
        raise ConfigError(
            explain(
                f"What people wrote for {origin.site} is another here than where it was run",
                where=str(directory / layout.fill(layout.SITE_FOLDER, site=origin.site)),
                expected=f"the files of {origin.directory / layout.fill(layout.SITE_FOLDER, site=origin.site)}",
                found=", ".join(sorted(here)),
                remedy=f"make the change there (isocenter exclude too), isocenter run --site {origin.site} there, take "
                "the files away here, and pool again",
            )
        )


def _write_site_folder(directory: Path, origin: Origin) -> None:
    source = origin.directory / layout.fill(layout.SITE_FOLDER, site=origin.site)
    target = directory / layout.fill(layout.SITE_FOLDER, site=origin.site)
    written = {path.name: withhold_identifiers(path) for path in list_site(origin.directory, origin.site)}
    for path in list_site(directory, origin.site):
        if path.name not in written:
            path.unlink()
    for name, content in written.items():
        if not (target / name).is_file() or withhold_identifiers(target / name) != content:
            write_bytes(target / name, content)
    drawn = Path(layout.SENT_REGIONS).parent.name
    for path in sorted((source / drawn).glob("*")):
        copy = target / drawn / path.name
        if path.is_file() and not (copy.is_file() and file_digest(copy) == file_digest(path)):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _copy_results(directory: Path, origin: Origin) -> None:
    """Files get the time at which they came, so that what is pooled is pooled again; equal ones are left alone."""
    start = layout.fill(layout.SITE, site=origin.site)
    for folder in sorted((origin.directory / start).rglob("*")):
        if folder.is_dir():  # an empty one is a result, too
            (directory / folder.relative_to(origin.directory)).mkdir(parents=True, exist_ok=True)
    for folder, _, names in os.walk(directory / start):
        for name in names:
            path = Path(folder, name)
            if path.relative_to(directory).as_posix() not in origin.rows:
                path.unlink()
    for path, row in {**origin.rows, **origin.template}.items():
        copy = directory / path
        if copy.is_file() and copy.stat().st_size == row.size and file_digest(copy) == row.sha256:
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        partial = copy.with_name(f".{copy.name}.partial")
        shutil.copyfile(origin.directory / path, partial)
        partial.replace(copy)


# Before tables are made ---------------------------------------------------------------------------------
def check_complete(directory: Path) -> Plan:
    """The plan of a trial whose sites all have every result that tables and report are made from.

    Raises
    ------
    ConfigError
        When there is no site, or one has no record, one of other code, config or packages, or a result is missing.
    AuditError
        When a result was cut short or taken away since it was recorded.
    """
    plan = Plan(load_settings(directory))
    if not plan.sites:
        raise ConfigError(
            explain("There is no site to pool", where=str(directory / layout.SITES), remedy="name folders of sites")
        )
    elsewhere = set(list_origins(directory))
    lost = find_damaged(directory, plan.sites)
    for site in plan.sites:
        record = directory / layout.fill(layout.SITE_RECORD, site=site)
        if site in elsewhere and record.is_file():  # decisions may have been made here since it came
            _check_shared(directory, record, site)
        else:
            check_record(directory, directory, site)
        missing = [path for path in plan.site_results(site) if not (directory / path).exists()]
        damaged = [path for path in lost if path.startswith(f"{layout.fill(layout.SITE, site=site)}/")]
        if missing or damaged:
            raise AuditError(
                explain(
                    f"Results of {site} are missing or cut short",
                    found=", ".join([*missing, *damaged][:3]) + f" ({len({*missing, *damaged})} in all)",
                    remedy="take the site in again: isocenter pool FOLDER"
                    if site in elsewhere
                    else f"isocenter run --site {site} makes them again",
                )
            )
    return plan
