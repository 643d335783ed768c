"""The files that a person would write for each simulated site."""

from isocenter.simulation.design import FIELD_STRENGTH, Site, TrialDesign, session_day
from isocenter.simulation.settings import SimulationSettings

#: The first line of such a ``site.yaml``: what begins otherwise is somebody's own, and is never replaced.
MARK = "# A site of the demonstration trial, written by `isocenter simulate`."


def format_site_yaml(site: Site, settings: SimulationSettings) -> str:
    """The text of ``site.yaml``: scanner, phantom and the log of its temperatures."""
    log = "\n".join(
        f'      "{session_day(site, int(session))}": {temperature:.1f}'
        for session, temperature in site.temperatures.items()
    )
    first = next(iter(site.temperatures.values()))
    return f"""{MARK}
site: {site.name}
title: Demonstration hospital {site.name.removeprefix("site")}
source: dicom # folder beside this file (or an absolute path) that holds the DICOM as it came
protocol: {"brain_heart_thigh" if settings.arms else "brain_relaxometry"}
scanners:
  - id: {site.vendor.lower()}{site.index + 1}
    serial: "{site.serial}"
    manufacturer: {site.vendor}
    model: {site.model}
    field_strength: {FIELD_STRENGTH:.1f} # T
phantoms:
  - participant_id: phantom1
    type: nist_system
    serial: "{site.phantom_serial}"
    temperature: {first:.1f} # degC, when no dated value is given
    temperature_stderr: {settings.temperature_stderr:.1f} # degC
    thermometer_stderr: 0.0 # degC; here each day's reading errs on its own
    temperatures: # the log, degC by date
{log}
"""


def format_participants(site: Site, design: TrialDesign) -> str:
    """The text of ``participants.tsv``."""
    rows = [("participant_id", "kind", "source_id")]
    rows += [(p, "traveler", f"DEMO-{p}") for p in design.participants]
    rows.append(("phantom1", "phantom", site.phantom_patient_id))
    return "".join("\t".join(row) + "\n" for row in rows)
