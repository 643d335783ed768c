"""Who is scanned where, when and how, and what goes wrong: the whole trial as plain records, before any image."""

from dataclasses import dataclass, field
from datetime import date, timedelta

from isocenter.simulation.seeds import stream
from isocenter.simulation.settings import SimulationSettings
from isocenter.simulation.techniques import CORE, TECHNIQUES

#: The first day of the trial; sites follow a week apart, sessions five weeks apart.
FIRST_DAY = date(2026, 1, 12)
DAYS_BETWEEN_SITES = 7
DAYS_BETWEEN_SESSIONS = 35

#: Scanners of the demonstration trial in the order of its sites; from the fifth site on they repeat.
#: The frequency follows the vendor's true field (3 T machines are built at 2.89 to 3.00 T).
SCANNERS = (
    ("siemens", "SIEMENS", "Siemens", "Skyra", "syngo MR E11", 123.25),
    ("ge", "GE MEDICAL SYSTEMS", "GE", "DISCOVERY MR750", "27\\LX\\MR Software release:DV26.0_R05", 127.73),
    ("philips", "Philips Medical Systems", "Philips", "Ingenia", "5.6.1\\5.6.1.0", 127.77),
    ("philips_enhanced", "Philips Healthcare", "Philips", "Elition X", "5.7.1\\5.7.1.2", 127.76),
)
#: One phantom a site, of the two batches in the field.
PHANTOM_SERIALS = ("130-0093", "130-0117", "130-0146", "130-0071")
FIELD_STRENGTH = 3.0
#: Ranges from which the ruler errors of four sites are drawn, relative to the largest.
RULER_STRATA = ((-1.0, -0.65), (-0.5, -0.15), (0.15, 0.5), (0.65, 1.0))

#: The biomarkers with a ruler that a phantom can check.
RULED = tuple(TECHNIQUES[suffix].biomarker for suffix in CORE)


@dataclass(frozen=True)
class Site:
    """One site: its scanner, its phantom, and the ways in which it is not ideal.

    temperatures, true_temperatures : the log's and the phantom's own, by session [degC]
    ruler_errors : by biomarker; the times (or b-values) played out are the nominal ones times (1 + error)
    """

    name: str
    index: int
    dialect: str
    manufacturer: str
    vendor: str
    model: str
    software: str
    imaging_frequency: float
    serial: str
    phantom_serial: str
    temperatures: dict[str, float]
    true_temperatures: dict[str, float]
    ruler_errors: dict[str, float]
    inversion_efficiency: float
    refocusing_angle: float

    @property
    def phantom_patient_id(self) -> str:
        """The phantom's PatientID in the DICOM."""
        return f"DEMO-PHANTOM-{self.name.removeprefix('site')}"


@dataclass(frozen=True)
class Acquisition:
    """One series to simulate and write (Siemens writes it as one DICOM series per inversion time).

    day : of the scan; start : seconds after midnight; number : the first series number
    """

    site: Site
    participant: str
    kind: str
    patient_id: str
    session: str
    run: str
    suffix: str
    day: date
    start: float
    number: int
    has_spike: bool = False
    lacks_inversion_time: bool = False
    lacks_b_value: bool = False
    lacks_regions: bool = False
    is_derived: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """What tells this series from all others."""
        kind = "derived" if self.is_derived else self.suffix
        return (self.site.name, self.participant, self.session, self.run, kind)


@dataclass(frozen=True)
class BadThing:
    """Something that goes wrong on purpose, and the stage that should notice."""

    site: str
    what: str
    participant: str
    session: str
    run: str
    suffix: str
    expected_stage: str
    expected: str


@dataclass(frozen=True)
class TrialDesign:
    """The whole trial."""

    settings: SimulationSettings
    sites: tuple[Site, ...]
    participants: tuple[str, ...]
    acquisitions: tuple[Acquisition, ...]
    bad: tuple[BadThing, ...] = field(default=())


def design_trial(settings: SimulationSettings) -> TrialDesign:
    """Plan a trial from its settings; the same settings give the same plan.

    A trial with more sessions has the same plan for the earlier ones.
    """
    participants = () if settings.phantoms_only else tuple(f"T{i + 1:02d}" for i in range(settings.participants))
    sites = tuple(_design_site(settings, index) for index in range(settings.sites))
    bad = _design_bad_things(settings, sites, participants)
    acquisitions = [a for site in sites for a in _schedule(settings, site, participants, bad)]
    return TrialDesign(settings, sites, participants, tuple(acquisitions), bad)


def _design_site(settings: SimulationSettings, index: int) -> Site:
    name = f"site{chr(ord('A') + index)}" if index < 26 else f"site{index + 1:03d}"
    dialect, manufacturer, vendor, model, software, frequency = SCANNERS[index % len(SCANNERS)]
    rng = stream(settings.seed, "site", index)
    efficiency = rng.uniform(*settings.inversion_efficiency)
    angle = rng.uniform(*settings.refocusing_angle)
    logged, true = {}, {}
    for session in range(1, settings.sessions + 1):
        rng = stream(settings.seed, "temperature", index, session)
        label = f"{session:02d}"
        logged[label] = round(float(rng.uniform(19.0, 22.5)), 1)
        true[label] = logged[label] + settings.temperature_stderr * float(rng.standard_normal())
    return Site(
        name=name,
        index=index,
        dialect=dialect,
        manufacturer=manufacturer,
        vendor=vendor,
        model=model,
        software=software,
        imaging_frequency=frequency,
        serial=f"{46069 + 1131 * index}",
        phantom_serial=PHANTOM_SERIALS[index % len(PHANTOM_SERIALS)],
        temperatures=logged,
        true_temperatures=true,
        ruler_errors={b: _ruler_error(settings, b, index) for b in (*RULED, *({"ADC"} & set(settings.arms)))},
        inversion_efficiency=float(efficiency),
        refocusing_angle=float(angle),
    )


def _ruler_error(settings: SimulationSettings, biomarker: str, index: int) -> float:
    """A site's error: of four sites two run fast and two slow, one of each by much, so that sites always differ."""
    largest = settings.ruler_errors if biomarker in RULED else settings.gradient_errors
    order = stream(settings.seed, "ruler", biomarker, index // len(RULER_STRATA)).permutation(len(RULER_STRATA))
    least, most = RULER_STRATA[order[index % len(RULER_STRATA)]]
    draw = stream(settings.seed, "ruler", biomarker, "site", index).uniform(least, most)
    return float(largest * draw)


def session_day(site: Site, session: int) -> date:
    """The day of a session (counted from 1) at a site: all volunteers and the phantom."""
    return FIRST_DAY + timedelta(days=DAYS_BETWEEN_SITES * site.index + DAYS_BETWEEN_SESSIONS * (session - 1))


def _schedule(settings, site, participants, bad) -> list[Acquisition]:
    """All series of a site, phantom first each day, then volunteers 50 minutes apart."""
    found = []
    marks = {(b.participant, b.session, b.run, b.suffix, b.what) for b in bad if b.site == site.name}
    for session in range(1, settings.sessions + 1):
        label, day = f"{session:02d}", session_day(site, session)
        people = [("phantom1", "phantom", site.phantom_patient_id, 7.5 * 3600, 1)]
        people += [
            (p, "traveler", f"DEMO-{p}", (8.5 + 5 / 6 * i) * 3600, settings.runs(session))
            for i, p in enumerate(participants)
        ]
        for participant, kind, patient_id, start, runs in people:
            if (participant, label, "", "", "missing_visit") in marks:
                continue
            number, clock = 2, start + 240.0
            for run in range(1, runs + 1):
                for suffix in CORE if kind == "phantom" else settings.suffixes:
                    where = (participant, label, str(run), suffix)
                    found.append(
                        Acquisition(
                            site,
                            participant,
                            kind,
                            patient_id,
                            label,
                            str(run),
                            suffix,
                            day,
                            clock,
                            number,
                            has_spike=(*where, "spike") in marks,
                            lacks_inversion_time=(*where, "missing_inversion_time") in marks,
                            lacks_b_value=(*where, "missing_b_value") in marks,
                            lacks_regions=(*where, "missing_regions") in marks,
                        )
                    )
                    number += {"IRT1": len(settings.inversion_times), "MEGRE": 2}.get(suffix, 1)
                    clock += 600.0 if suffix in CORE else 180.0
            if (participant, label, "1", "", "derived_map") in marks:
                found.append(
                    Acquisition(
                        site, participant, kind, patient_id, label, "1", "", day, clock, number, is_derived=True
                    )
                )
    return found


def _design_bad_things(settings, sites, participants) -> tuple[BadThing, ...]:
    """One of each, spread over the sites; none of them hits what another one has taken."""
    if not participants:
        return ()

    def site(index: int) -> str:
        return sites[index % len(sites)].name

    def person(index: int) -> str:
        return participants[index % len(participants)]

    repeat = "2" if settings.first_session_runs > 1 else "1"
    bad = []
    if settings.bad_things:
        bad = [
            BadThing(
                site(0),
                "non_dicom_file",
                "",
                "",
                "",
                "",
                "intake",
                "a file that is no DICOM is named, the rest goes on",
            ),
            BadThing(site(0), "derived_map", person(0), "01", "1", "", "intake", "ignored: ImageType says DERIVED"),
            BadThing(site(1), "duplicate_upload", person(1), "01", "1", "MESE", "intake", "the second copy is ignored"),
            BadThing(
                site(2),
                "missing_inversion_time",
                person(2),
                "01",
                repeat,
                "IRT1",
                "intake",
                "quarantined: (0018,0082) is absent, never guessed",
            ),
            BadThing(
                site(3),
                "truncated_dicom",
                person(3),
                "01",
                repeat,
                "MESE",
                "intake",
                "the file's series cannot be used",
            ),
        ]
    if settings.bad_things and "ADC" in settings.arms:
        bad.append(
            BadThing(
                site(1), "missing_b_value", person(0), "01", repeat, "dwi", "intake",
                "quarantined: no element holds the b-value, never guessed",
            )
        )  # fmt: skip
    if settings.bad_things and "T1heart" in settings.arms:
        bad.append(
            BadThing(
                site(2), "missing_regions", person(1), "01", "1", "MOLLI", "regions",
                "the site sent no segmentation: no row, and a reason",
            )
        )  # fmt: skip
    if settings.bad_things and settings.sessions > 1:
        bad.append(
            BadThing(site(1), "missing_visit", person(4), "02", "", "", "planned", "in the schedule, never received")
        )
    if settings.spike:
        bad.append(
            BadThing(site(0), "spike", person(3), "01", "1", "IRT1", "", "analyzed: the robust fit outvotes one volume")
        )
    return tuple(bad)
