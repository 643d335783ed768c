"""Intake of one site: read every DICOM file, recognize what it is, and write the site's raw BIDS root.

Nothing that arrives disappears: every series is a row of ``scans.tsv``, and every series or file that is not used is
a row of ``exclusions.tsv`` with a reason and what to do. Files whose content would not change are not written again.
"""

from dataclasses import asdict
from pathlib import Path

from isocenter import layout
from isocenter.dicom.index import read_index, write_index, write_paths, write_table_if_changed
from isocenter.dicom.intake import take_in
from isocenter.dicom.people import read_roster
from isocenter.dicom.rows import Intake
from isocenter.dicom.suffixes import SUFFIXES
from isocenter.documents import read_document
from isocenter.errors import ConfigError, explain
from isocenter.io.outcome import Exclusion, note_unsettled
from isocenter.step import In, Ins, Out, run_step


def index_site(
    site: In,
    participants: In,
    sessions: Ins = (),
    *,
    scans: Out,
    exclusions: Out,
    index: Out,
    bids: str,
    source: str,
    dates: str = "offset",
    suffixes: list = (),
    by_date: bool = False,
) -> None:
    """Take in the DICOM below the folder `source` of one site.

    Parameters
    ----------
    site
        site.yaml.
    participants
        participants.tsv: participant_id, kind, source_id.
    sessions
        sessions.tsv where it exists: participant_id, date, session.
    scans
        Table with a row per series.
    exclusions
        Table with a row per series or file that is left out.
    index
        What was learned of each file, so that the next run reads only what is new.
    bids
        The site's BIDS root.
    source
        The folder that holds the DICOM as it came.
    dates
        "offset": days since the participant's first session; "keep": dates as in the DICOM.
    suffixes
        The BIDS suffixes of the series that are wanted; without any, all that can be converted are.
    by_date
        Whether a calibration needs each scan's days since the site's first phantom session; people's are told to 28
        days.
    """
    if dates not in ("offset", "keep"):
        raise ConfigError(explain("Unknown way with dates", expected="offset or keep", found=dates))
    known = read_index(Path(index))
    try:
        intake = _take_in_site(
            site, participants, list(sessions), Path(source), Path(bids), known, dates, suffixes, by_date
        )
    except Exception as error:  # one site must not stop the others
        exclusion = Exclusion.from_error("intake", error)
        note_unsettled(exclusion.reason)  # a folder may come back with the times that it had
        intake = Intake(exclusions=[asdict(exclusion)], index=known)
    write_table_if_changed(Path(scans), intake.scans_table())
    write_table_if_changed(Path(exclusions), intake.exclusions_table())
    write_index(Path(index), intake.index)
    write_paths(Path(site).parent / layout.ARRIVED, intake.paths)


def _take_in_site(
    site: Path,
    participants: Path,
    sessions: list,
    source: Path,
    bids: Path,
    known: dict,
    dates: str,
    suffixes: list,
    by_date: bool,
) -> Intake:
    if not source.is_dir():
        raise ConfigError(
            explain(
                "The folder of the site's DICOM is missing",
                where=str(site),
                expected=str(source),
                remedy="put the DICOM there, or mend `source` in site.yaml",
            )
        )
    prefix = f"{layout.SESSION_FOLDER}/{{folder}}/{layout.PREFIX}"
    description, roster = read_document(site, "site"), read_roster(participants, sessions)
    wanted = suffixes or list(SUFFIXES)
    unpacked = Path(site).parent / layout.UNPACKED
    return take_in(
        source, unpacked, bids, description, roster, known, prefix=prefix, dates=dates, suffixes=wanted, by_date=by_date
    )


if __name__ == "__main__":
    run_step(index_site, globals())
