"""Who is who at a site: the Patient ID of the DICOM, the participant's label in the trial, the session of a date."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from isocenter.entities import Kind, check_label
from isocenter.errors import ConfigError, TableError, explain
from isocenter.io.tables import read_table


@dataclass(frozen=True)
class Roster:
    """participants.tsv, and sessions.tsv where it exists."""

    table: pd.DataFrame
    people: dict[str, tuple[str, str]]
    sessions: dict[tuple[str, datetime.date], str]

    def find(self, patient_id: str) -> tuple[str, str] | None:
        """(participant label, kind) of a Patient ID; None when no row names it."""
        return self.people.get(patient_id.strip())

    def identifiers(self) -> set[str]:
        """Every Patient ID in the table: none may be written."""
        return set(self.people)

    def phantoms(self) -> frozenset[str]:
        """The Patient IDs of phantoms, whose dates and UIDs tell of nobody."""
        return frozenset(source for source, (_, kind) in self.people.items() if kind == Kind.PHANTOM)

    def labels(self) -> set[str]:
        """Every participant label: these may be written even where they are a piece of an ID."""
        return {label for label, _ in self.people.values()}

    def session(self, participant: str, date: datetime.date, dates: list[datetime.date]) -> str:
        """The session of a study date: as sessions.tsv says, else its number among the participant's dates."""
        stated = self.sessions.get((participant, date))
        return stated if stated else f"{dates.index(date) + 1:02d}"


def read_roster(participants: Path, sessions: list[Path]) -> Roster:
    """Read participants.tsv and any sessions.tsv; ConfigError or TableError when they contradict themselves."""
    columns = ("participant_id", "kind", "source_id")
    table = read_table(participants, required=columns, text=columns)
    people: dict[str, tuple[str, str]] = {}
    for row in table.itertuples():
        label = check_label(row.participant_id.strip(), f"participant_id in {participants.name}")
        source = row.source_id.strip()
        if row.kind not in set(Kind):
            raise ConfigError(
                explain(
                    f"Unknown kind of participant {label}",
                    where=participants.name,
                    expected=", ".join(Kind),
                    found=row.kind,
                )
            )
        if source in people and people[source] != (label, row.kind):
            raise TableError(
                explain(
                    "One source_id belongs to two participants",
                    where=participants.name,
                    found=f"{people[source][0]} and {label}",
                    remedy="give each participant a source_id of their own",
                )
            )
        if source:
            people[source] = (label, row.kind)
    return Roster(table, people, _read_sessions(sessions))


def _read_sessions(paths: list[Path]) -> dict[tuple[str, datetime.date], str]:
    stated: dict[tuple[str, datetime.date], str] = {}
    columns = ("participant_id", "date", "session")
    for path in paths:
        for row in read_table(path, required=columns, text=columns).itertuples():
            try:
                date = datetime.date.fromisoformat(row.date.strip())
            except ValueError:
                raise TableError(
                    explain("A date cannot be read", where=path.name, expected="YYYY-MM-DD", found=row.date)
                ) from None
            stated[row.participant_id.strip(), date] = check_label(row.session.strip(), f"session in {path.name}")
    return stated
