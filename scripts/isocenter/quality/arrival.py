"""What arrived: usable series, required and extra series, planned visits."""

from collections.abc import Collection
from typing import Any

from isocenter.entities import Disposition
from isocenter.quality.check import QUARANTINED, Check, make_check
from isocenter.quality.consoles import Console, choose_remedy
from isocenter.quality.values import as_text, count_words

Row = dict[str, Any]

#: Words of intake on a series that is used and looks as if it had not arrived whole, or as if it were of several scans,
#: and the checks that they become.
NOT_WHOLE = {
    "gaps": {
        "id": "images_missing",
        "parameter": "Instance Number (0020,0013)",
        "expected": "numbers from 1 without gaps",
        "found": "images seem to be missing",
        "remedy": "Send these series again whole, or say that the scanner counts so",
    },
    "flat": {
        "id": "images_empty",
        "parameter": "pixels",
        "expected": "signal or noise in every image",
        "found": "images of one value in all of their pixels",
        "remedy": "Look whether the scanner shows these images empty; if not, send the series again whole",
    },
    "bandwidth": {
        "id": "one_bandwidth",
        "parameter": "Pixel Bandwidth (0018,0095)",
        "expected": "one in all images of a set",
        "found": "several",
        "remedy": "Acquire all images of a map with one bandwidth, and look whether these belong together",
    },
    "averages": {
        "id": "one_number_of_averages",
        "parameter": "Number of Averages (0018,0083)",
        "expected": "one in all images of a set",
        "found": "several",
        "remedy": "Acquire all images of a map with one number of averages, and look whether these belong together",
    },
    "studies": {
        "id": "one_study",
        "parameter": "Study Instance UID (0020,000D)",
        "expected": "one study in all series of a set",
        "found": "several, as of two visits of one day,",
        "remedy": "Look whether these series were acquired in one visit; if not, leave the run out",
    },
    "frames": {
        "id": "one_frame_of_reference",
        "parameter": "Frame of Reference UID (0020,0052)",
        "expected": "one place of the person or phantom in all series of a set",
        "found": "several, as after a new positioning,",
        "remedy": "Look whether the person or phantom was moved between these series; if so, leave the run out",
    },
}


def check_intake(scans: list[Row], exclusions: list[Row], rule: dict[str, Any]) -> list[Check]:
    """Whether anything usable arrived, and one check per file or series that intake could not use.

    A series that was ignored on purpose (a duplicate, a vendor's derived map) asks nothing of the site. A damaged file
    of a quarantined series is what that series says already.
    """
    used = [row for row in scans if row.get("disposition") == Disposition.USED]
    checks = [
        make_check(
            bool(used),
            severity="fail",
            id="usable_series",
            group="intake",
            scope="all series",
            parameter="series",
            expected="at least one usable series",
            found=f"{len(used)} usable of {len(scans)}",
            remedy="Send the DICOM of the protocol's series, and check the folder that site.yaml names",
        )
    ]
    for word, fields in NOT_WHOLE.items():
        rows = [row for row in used if word in as_text(row.get("warnings")).split()]
        if rows:
            scopes = list(dict.fromkeys(f"{_scope(row)} {as_text(row.get('suffix'))}" for row in rows))
            where = ", ".join(scopes[:3]) + (" and more" if len(scopes) > 3 else "")
            found = f"{fields['found']} in {len(rows)} series"
            common = {**fields, "scope": where, "found": found}
            checks.append(make_check(False, severity="warn", group="intake", **common))
    # A duplicate has the UID of the series it repeats, so the reason tells the two apart.
    seen = {
        (as_text(row.get("series_uid")), as_text(row.get("reason")) or "no reason given")
        for row in scans
        if row.get("disposition") == Disposition.IGNORED
    }
    quarantined = [row for row in scans if row.get("disposition") == Disposition.QUARANTINED]
    uids = {as_text(row.get("series_uid")) for row in scans}
    for row in [*quarantined, *exclusions]:
        series = as_text(row.get("series_uid") or row.get("series"))
        reason = as_text(row.get("reason")) or "no reason given"
        is_told = series not in uids and any(_tells_of(one, row, reason) for one in quarantined)
        if (series, reason) in seen or is_told:
            continue
        seen.add((series, reason))
        checks.append(
            make_check(
                False,
                severity=rule["severity"],
                id="unusable_series",
                group="intake",
                scope=_scope(row) or series,
                parameter=as_text(row.get("suffix")) or "file",
                expected="a series that can be used",
                found=reason,
                remedy=_tell_site(as_text(row.get("action"))) or rule["remedy"],
            )
        )
    return checks


def check_sequences(scans: list[Row], protocol: dict[str, Any], console: Console | None = None) -> list[Check]:
    """Whether every run of every participant holds each series that the protocol requires.

    One run that lacks a series counts as the series' severity; a series that no run holds fails the site.
    console : of the site's scanners
    """
    console = console or Console()
    runs: dict[tuple[str, str, str, str], dict[str, str]] = {}
    refused: dict[tuple[str, ...], Row] = {}
    for row in scans:
        run = tuple(as_text(row.get(key)) for key in ("kind", "participant_id", "session", "run"))
        suffix = as_text(row.get("suffix"))
        if row.get("disposition") == Disposition.USED:
            runs.setdefault(run, {})[suffix] = "present"
        elif row.get("disposition") == Disposition.QUARANTINED and all(run):
            runs.setdefault(run, {})
            refused.setdefault((*run, suffix), row)
    checks = []
    for suffix, block in protocol["series"].items():
        number_held = sum(suffix in held for run, held in runs.items() if run[0] in block["kinds"])
        if block["required"] and any(run[0] in block["kinds"] for run in runs):
            checks.append(
                make_check(
                    number_held > 0,
                    severity="fail",
                    id="series_received",
                    group="sequences",
                    scope="all runs",
                    parameter=f"{block['title']} ({suffix})",
                    expected="in at least one run",
                    found=f"in {count_words(number_held, 'run')}",
                    remedy=console.word(choose_remedy(block, console)),
                )
            )
    for (kind, participant, session, number), present in sorted(runs.items()):
        for suffix, block in protocol["series"].items():
            if not block["required"] or kind not in block["kinds"]:
                continue
            row = refused.get((kind, participant, session, number, suffix), {})
            reason = as_text(row.get("reason"))
            checks.append(
                make_check(
                    suffix in present,
                    severity=block["severity"],
                    id="required_series",
                    group="sequences",
                    scope=f"sub-{participant} ses-{session} run-{number}",
                    parameter=f"{block['title']} ({suffix})",
                    expected="present",
                    found=present.get(suffix) or (f"{QUARANTINED}{reason}" if reason else "missing"),
                    remedy=_tell_site(as_text(row.get("action"))) or console.word(choose_remedy(block, console)),
                )
            )
    return checks


def check_extra_series(
    scans: list[Row], protocol: dict[str, Any], known: Collection[str], rule: dict[str, Any]
) -> list[Check]:
    """Series that could be measured and that the protocol does not ask for, one check a participant's kind and suffix.

    What cannot be converted (localizers, the scanner's own maps) is no extra series. known : the suffixes of intake
    """
    found: dict[tuple[str, str], set[str]] = {}
    for row in scans:
        kind, suffix = as_text(row.get("kind")), as_text(row.get("suffix"))
        is_wanted = kind in protocol["series"].get(suffix, {}).get("kinds", [])
        if kind and suffix in known and not is_wanted and suffix not in rule["allowed"]:
            scope = f"sub-{as_text(row.get('participant_id'))} ses-{as_text(row.get('session'))}"
            found.setdefault((kind, suffix), set()).add(scope)
    asked = {
        kind: ", ".join(suffix for suffix, block in protocol["series"].items() if kind in block["kinds"]) or "no series"
        for kind, _ in found
    }
    return [
        make_check(
            False,
            severity=rule["severity"],
            id="extra_series",
            group="sequences",
            scope=", ".join(sorted(scopes)[:3]) + (f" and {len(scopes) - 3} more" if len(scopes) > 3 else ""),
            parameter=suffix,
            expected=f"of a {kind}: {asked[kind]}",
            found=f"{suffix} in {count_words(len(scopes), 'session')} besides",
            remedy=rule["remedy"],
        )
        for (kind, suffix), scopes in sorted(found.items())
    ]


def check_completeness(
    scans: list[Row], participants: list[Row], schedule: dict[str, Any], rule: dict[str, Any]
) -> list[Check]:
    """Planned sessions and runs of every participant against those that arrived usable.

    Sessions are numbered by study date, so a first visit that never happened shows as a missing last one.
    """
    arrived: dict[tuple[str, str], set[str]] = {}
    for row in scans:
        if row.get("disposition") == Disposition.USED:
            key = (as_text(row.get("participant_id")), as_text(row.get("session")))
            arrived.setdefault(key, set()).add(as_text(row.get("run")))
    checks = []
    for person in participants:
        participant, plan = person["participant_id"], schedule.get(person["kind"], {}).get("sessions", {})
        for session, planned in plan.items():
            wanted, runs = planned.get("runs", 1), len(arrived.get((participant, session), ()))
            checks.append(
                make_check(
                    runs >= wanted,
                    severity=rule["severity"],
                    id="planned_session",
                    group="completeness",
                    scope=f"sub-{participant} ses-{session}",
                    parameter="runs",
                    expected=count_words(wanted, "run"),
                    found=count_words(runs, "run") if runs else "the session did not arrive",
                    remedy=rule["remedy"],
                )
            )
            if runs > wanted:
                checks.append(
                    make_check(
                        False,
                        severity="warn",
                        id="unplanned_run",
                        group="completeness",
                        scope=f"sub-{participant} ses-{session}",
                        parameter="runs",
                        expected=count_words(wanted, "run"),
                        found=count_words(runs, "run"),
                        remedy="Take the run out that was repeated because it was bad, or mend the trial's schedule: "
                        "all runs are measured",
                    )
                )
        extra = sorted(session for who, session in arrived if who == participant and session not in plan)
        if plan and extra:
            checks.append(
                make_check(
                    False,
                    severity="warn",
                    id="unplanned_session",
                    group="completeness",
                    scope=f"sub-{participant}",
                    parameter="sessions",
                    expected=", ".join(plan),
                    found=", ".join(extra) + " besides",
                    remedy="Say in sessions.tsv which session each study date is, or mend the trial's schedule",
                )
            )
    return checks


def _tells_of(series: Row, file: Row, reason: str) -> bool:
    """Whether the reason of a quarantined series is that of one of its files."""
    is_same_visit = all(as_text(series.get(key)) == as_text(file.get(key)) for key in ("participant_id", "session"))
    plain = reason.split(" (nor are ")[0]
    return is_same_visit and as_text(series.get("reason")).endswith(f"cannot be used: {plain}")


def _tell_site(action: str) -> str:
    """What intake asks of a data manager, as the site is asked: the certificate is read by the site."""
    asked = action.removeprefix("Ask the site to ")
    return asked if asked == action else asked[:1].upper() + asked[1:]


def _scope(row: Row) -> str:
    parts = (("sub", "participant_id"), ("ses", "session"), ("run", "run"))
    return " ".join(f"{name}-{as_text(row[key])}" for name, key in parts if as_text(row.get(key)))
