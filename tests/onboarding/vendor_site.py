"""A site in one vendor's dialect of the simulator: DICOM through intake, a phantom through the fits, to the verdict.

Images of people are small and random, for the checks ask headers and geometry. The phantom's signals are those of the
simulated scanner, vial by vial; they are fitted, tabulated, calibrated and charted by the steps' own functions.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom

from check_site import check_site
from index_site import index_site
from isocenter import fitting, models
from isocenter.dicom.write import write_series
from isocenter.documents import read_phantom
from isocenter.entities import Flag
from isocenter.io.nifti import write_json
from isocenter.io.tables import write_table
from isocenter.phantom.control import chart_sessions
from isocenter.phantom.dates import calibrate_by_date
from isocenter.phantom.library import load_phantom
from isocenter.phantom.measure import SAMPLED, VialMeasurement
from isocenter.phantom.sessions import tabulate_vials
from isocenter.simulation.design import design_trial, session_day
from isocenter.simulation.phantom_scene import draw_vials
from isocenter.simulation.scanner import WHITE_MATTER_SIGNAL, SimulatedSeries
from isocenter.simulation.settings import SimulationSettings
from isocenter.simulation.signals import inversion_recovery, multi_echo
from isocenter.simulation.site_files import format_participants, format_site_yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "config"
PHANTOM = load_phantom(read_phantom(CONFIG / "phantoms" / "nist_system.yaml"))
#: The sites of the simulator by the make of their scanner; the last writes enhanced multi-frame files.
DIALECTS = {"Siemens": 0, "GE": 1, "Philips": 2, "Philips, enhanced": 3}
#: Columns, rows, slices of what is written; the edges of its voxels [mm].
SHAPE, VOXEL, THICKNESS = (8, 10, 2), 4.0, 6.0
VOXELS_OF_A_VIAL = 24
SHIM = {
    "id": "shim_spread", "statistic": "sd", "maximum": 30.0, "severity": "warn",
    "remedy": "Repeat {Shim} over the volume of the brain", "kinds": ["traveler"],
}  # fmt: skip
#: What is seen of the sampled times, from a multiple of the shortest to one of the longest; of echo trains, which a
#: trial reads until they end in the background, about this much.
SPANS = {"T1": SAMPLED["InversionTime"], "T2": (1.5, 4.0)}
PARAMETERS = {"T1": ("inversion_efficiency",), "T2": ("B1",)}


@dataclass
class VendorSite:
    """A conforming site; a test changes what it likes, then asks for the verdict.

    series : (participant, session, suffix) to a function of the SimulatedSeries that is written, None leaves it out
    headers : the same to elements that replace those of the files (keyword to value, None removes)
    scanner : session to the site as it is on that day, for the phantom; absent : vials of a session that are not found
    """

    folder: Path
    dialect: str
    seed: int
    participants: int = 2
    series: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    again: list = field(default_factory=list)
    scanner: dict = field(default_factory=dict)
    phantom_snr: dict = field(default_factory=dict)
    absent: dict = field(default_factory=dict)
    shims: list = field(default_factory=list)
    differences: list = field(default_factory=list)
    files: dict = field(default_factory=dict)

    def __post_init__(self):
        self.settings = SimulationSettings(
            seed=self.seed, participants=self.participants, first_session_runs=1, bad_things=False, spike=False
        )
        self.design = design_trial(self.settings)
        self.site = self.design.sites[DIALECTS[self.dialect]]
        self.plans = [plan for plan in self.design.acquisitions if plan.site == self.site]

    def write(self) -> None:
        """The site's folder: DICOM, site.yaml, participants.tsv."""
        self.folder.mkdir(parents=True)
        (self.folder / "site.yaml").write_text(format_site_yaml(self.site, self.settings))
        (self.folder / "participants.tsv").write_text(format_participants(self.site, self.design))
        for plan in self.plans:
            self._write(plan)
        for participant, session, suffix in self.again:
            plan = next(p for p in self.plans if (p.participant, p.session, p.suffix) == (participant, session, suffix))
            self._write(replace(plan, run="2", start=plan.start + 3600.0, number=plan.number + 50))

    def _write(self, plan) -> None:
        key = (plan.participant, plan.session, plan.suffix)
        change = self.series.get(key, lambda series: series)
        series = change(self.make_series(plan))
        if series is None:
            return
        paths = write_series(self.folder / "dicom", plan, series)
        self.files[key] = paths
        changes = {**self.headers.get("all", {}), **self.headers.get(key, {})}
        for path in paths if changes else []:
            dataset = pydicom.dcmread(path)
            for keyword, value in changes.items():
                if value is None:
                    del dataset[keyword]
                else:
                    setattr(dataset, keyword, value)
            dataset.save_as(path)

    def make_series(self, plan) -> SimulatedSeries:
        """A series as the protocol asks for it, of random voxels."""
        settings = self.settings
        times = np.array(settings.inversion_times) if plan.suffix == "IRT1" else 0.01 * (1 + np.arange(settings.echoes))
        rng = np.random.default_rng([self.seed, plan.number, *map(ord, "".join(plan.key))])
        tr = settings.inversion_repetition_time if plan.suffix == "IRT1" else settings.echo_repetition_time
        return SimulatedSeries(
            data=rng.uniform(0.05, 0.9, (*SHAPE, len(times))).astype(np.float32),
            position=np.array([-16.0, -20.0, -3.0]), columns=np.array([VOXEL, 0, 0]), rows=np.array([0, VOXEL, 0]),
            slices=np.array([0, 0, THICKNESS]), thickness=THICKNESS, times=times, repetition_time=tr,
            echo_time=0.007 if plan.suffix == "IRT1" else 0.0, flip_angle=90.0, roi_truth=[], vial_truth=[],
        )  # fmt: skip

    # The phantom ----------------------------------------------------------------------------------
    def measure_phantom(self) -> pd.DataFrame:
        """The vials of all sessions, as ``vials.tsv`` has them."""
        sessions = [f"{number:02d}" for number in range(1, self.settings.sessions + 1)]
        return pd.concat(
            [self._measure(session, biomarker) for session in sessions for biomarker in PARAMETERS], ignore_index=True
        )

    def _measure(self, session: str, biomarker: str) -> pd.DataFrame:
        site, settings = self.scanner.get(session, self.site), self.settings
        truth = draw_vials(PHANTOM, site, session, biomarker, settings)
        snr = self.phantom_snr.get(session, settings.phantom_snr)
        found, signal, times = fit_vials(truth, site, biomarker, settings, snr, self.seed + int(session))
        reference = PHANTOM.reference(biomarker, site.phantom_serial, 3.0, site.temperatures[session], 0.3)
        least, most = SPANS[biomarker]
        measurements, quality = [], []
        for index, known in enumerate(reference):
            ok = found.flag[index] == Flag.OK
            values, errors = found.value[biomarker][index][ok], found.stderr[biomarker][index][ok]
            value = float(np.median(values)) if len(values) else np.nan
            stderr = float(1.2533 * max(np.median(errors), values.std(ddof=1)) / np.sqrt(len(values)))
            flag = known.flag if least * times.min() <= value <= most * times.max() else "out_of_range"
            flag = "not_found" if known.vial in self.absent.get(session, ()) else flag
            measurements.append(
                VialMeasurement(known.vial, value, stderr, flag, len(values), "" if flag == "ok" else flag)
            )
            row = {name: np.median(found.value[name][index][ok]) for name in PARAMETERS[biomarker]}
            noise = np.median(found.residual[index][ok])
            quality.append({**row, "snr": np.median(np.abs(signal[index]).max(axis=-1)) / noise})
        table = tabulate_vials(
            reference, measurements, session=session, date=f"{session_day(site, int(session))}", phantom=PHANTOM.name,
            serial=site.phantom_serial, biomarker=biomarker, unit="s", thermometer_share=0.0, scanner=self.scanner_id,
        )  # fmt: skip
        table["snr"] = [row["snr"] for row in quality]
        for column, name in (("inversion_efficiency", "inversion_efficiency"), ("b1", "B1")):
            table[column] = [row.get(name, np.nan) for row in quality]
        return table

    @property
    def scanner_id(self) -> str:
        """The scanner's id in site.yaml."""
        return f"{self.site.vendor.lower()}{self.site.index + 1}"

    # The verdict ----------------------------------------------------------------------------------
    def judge(self) -> dict:
        """Intake, phantom and every check; what ``verdict.json`` holds."""
        out = self.folder / "results"
        index_site(
            self.folder / "site.yaml", self.folder / "participants.tsv", scans=out / "scans.tsv",
            exclusions=out / "exclusions.tsv", index=out / "index.json", bids=str(out / "bids"),
            source=str(self.folder / "dicom"), suffixes=["IRT1", "MESE"],
        )  # fmt: skip
        vials = self.measure_phantom()
        write_table(out / "vials.tsv", vials)
        scanners = dict.fromkeys(vials["session"], self.scanner_id)
        write_table(out / "control.tsv", chart_sessions(vials, [], scanners))
        for biomarker in PARAMETERS:
            curve = calibrate_by_date(vials, biomarker, "s", ("none", "gain", "linear"), "pooled", None)
            write_json(out / f"{biomarker}.json", curve.to_dict())
        for number, shim in enumerate(self.shims):
            write_json(out / f"shim{number}.json", shim)
        check_site(
            self.folder / "site.yaml", self.folder / "participants.tsv", out / "scans.tsv", out / "exclusions.tsv",
            out / "vials.tsv", [out / f"{name}.json" for name in PARAMETERS], self._write_protocol(),
            out / "control.tsv", [out / f"shim{number}.json" for number in range(len(self.shims))],
            [CONFIG / "consoles.yaml"], self.differences, verdict=out / "verdict.json", certificate=out / "index.html",
            history=out / "history.jsonl", schedule=read_schedule(), bids=str(out / "bids"), trial="A trial",
            when="2026-04-01T09:00:00+00:00",
        )  # fmt: skip
        return json.loads((out / "verdict.json").read_text(encoding="utf-8"))

    def _write_protocol(self) -> Path:
        """The demonstration's protocol, with a limit of the shim where the site has field maps."""
        protocol = CONFIG / "protocols" / "brain_relaxometry.yaml"
        if not self.shims:
            return protocol
        path = self.folder / "protocol.yaml"
        path.write_text(f"{protocol.read_text()}\nshim: {json.dumps([SHIM])}\n")  # JSON is YAML
        return path


def read_schedule() -> dict:
    """One run a session of everybody, two sessions."""
    sessions = {"01": {"runs": 1}, "02": {"runs": 1}}
    return {"traveler": {"sessions": sessions}, "phantom": {"sessions": sessions}}


def fit_vials(truth, site, biomarker, settings, snr, seed):
    """The fit of every voxel (vials, voxels), its signal (vials, voxels, n) and the nominal times [s]."""
    n = VOXELS_OF_A_VIAL
    t1, t2 = (np.repeat([getattr(v, name) for v in truth], n) for name in ("t1", "t2"))
    stretch = 1 + site.ruler_errors[biomarker]
    if biomarker == "T1":
        times = np.array(settings.inversion_times)
        tr = settings.inversion_repetition_time
        clean = inversion_recovery(np.ones(t1.size), t1, times * stretch, tr * stretch, site.inversion_efficiency)
        bound = models.get("t1_inversion_recovery").bind({"InversionTime": times, "RepetitionTime": tr})
    else:
        times = settings.echo_spacing * (1 + np.arange(settings.echoes))
        clean = multi_echo(np.ones(t1.size), t1, t2, times * stretch, site.refocusing_angle, np.ones(t1.size))
        bound = models.get("t2_extended_phase_graph").bind({"EchoTime": times, "RefocusingFlipAngle": 180.0})
    noise = WHITE_MATTER_SIGNAL / snr * np.random.default_rng([seed, len(biomarker)]).standard_normal((2, *clean.shape))
    signal = np.hypot(clean + noise[0], noise[1]).reshape(len(truth), n, -1)
    return fitting.fit(bound, signal), signal, times


def broken(answer: dict) -> set[tuple[str, str]]:
    """Checks that do not hold, by id and where."""
    return {(check["id"], check["scope"]) for check in answer["checks"] if check["verdict"] != "pass"}
