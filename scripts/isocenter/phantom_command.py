"""``isocenter phantom``: one phantom session from DICOM to vials, calibration and a page, without a trial."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isocenter.dicom.session import Session, read_session
from isocenter.documents import read_phantom
from isocenter.errors import ConfigError, DicomError, explain
from isocenter.io.nifti import write_json
from isocenter.io.tables import write_table
from isocenter.phantom.library import Phantom, load_phantom
from isocenter.phantom.methods import METHODS
from isocenter.phantom.other_batch import find_better_batch
from isocenter.phantom.regions import find_voxels, list_regions
from isocenter.phantom.vial_fits import MethodResult
from isocenter.phantom.whole_session import Acquired, Conditions, SessionResult, measure_session
from isocenter.phantom_sources import describe_sources
from isocenter.processes import run_in_order
from isocenter.quality.check import Check, judge
from isocenter.quality.phantom_session import check_session, describe_session
from isocenter.vial_regions import read_rois
from isocenter.volume import Volume

#: Short names of the shipped phantoms: the file below config/phantoms.
SHORT_NAMES = {
    "system": "nist_system",
    "diffusion": "diffusion",
    "eurospin": "eurospin_to5",
    "pdff": "pdff_vials",
}
#: A temperature from the command line without its uncertainty was read off a thermometer to about half a degree [degC].
TEMPERATURE_STDERR = 0.5
#: The scanner's own ADC maps hold integers of this many mm²/s.
SCANNER_ADC_UNIT = 1e-6

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Outcome:
    """What the command found and wrote. verdict : pass, warn or fail; rows : lines for the terminal."""

    verdict: str
    sentence: str
    checks: list[Check]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    scans: list[dict[str, Any]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def find_phantom(name: str, folders: list[Path] | None = None) -> Phantom:
    """A phantom by its short name, its own name or the path of its definition; ConfigError lists the known ones."""
    return load_phantom(read_phantom(find_definition(name, folders)))


def find_definition(name: str, folders: list[Path] | None = None) -> Path:
    """The file that defines a phantom."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    shipped = {p.stem: p for folder in folders or [REPOSITORY / "config" / "phantoms"] for p in folder.glob("*.yaml")}
    stem = SHORT_NAMES.get(name, name)
    if stem not in shipped:
        short = {stem: short for short, stem in SHORT_NAMES.items()}
        known = sorted(short.get(stem, stem) for stem in shipped)
        raise ConfigError(
            explain(
                f"Unknown phantom {name!r}",
                expected=f"{', '.join(known)}, or the path of a YAML definition",
                remedy="write a definition as config/README.md describes, and give its path",
            )
        )
    return shipped[stem]


def measure_folder(
    source: Path,
    out: Path,
    *,
    phantom: str,
    serial: str,
    temperature: float,
    temperature_stderr: float | None = None,
    field_strength: float | None = None,
    rois: Sequence[str] = (),
    threads: int = 1,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Measure the session below `source` and write its table, calibrations and page into `out`.

    Parameters
    ----------
    source, out : path
        DICOM in any folders; the folder to write into, made when absent.
    phantom, serial : str
        Short name or YAML path; the number that tells the batch.
    temperature, temperature_stderr : float
        Of the phantom [degC]; without the latter half a degree.
    field_strength : float, optional
        Instead of what the header says [T].
    rois : texts
        Hand-made files of the vials' places, instead of searching them: see `read_hand_regions`.
    threads : int
        Threads to use.
    on_progress : callable, optional
        Called with what is being done.

    Raises
    ------
    IsocenterError
        The request cannot be answered: an unknown phantom or serial number, a temperature outside the tables, no
        DICOM, no series that measures this phantom.
    """
    known = find_phantom(phantom)
    if not source.is_dir():
        raise DicomError(explain("The folder of DICOM is missing", where=str(source), remedy="check the path"))
    if out.exists() and not out.is_dir():
        raise ConfigError(explain("The output is not a folder", where=str(out), remedy="name a folder with --out"))
    stderr = TEMPERATURE_STDERR if temperature_stderr is None else temperature_stderr
    if not np.isfinite(temperature) or not stderr >= 0:
        raise ConfigError(explain("The temperature is no number [degC]", found=f"{temperature} ± {stderr}"))
    regions = read_hand_regions(rois, known)
    suffixes = [s for s, methods in METHODS.items() if any(known.shows(m.quantity) for m in methods)]
    session = read_session(source, suffixes, threads=threads, on_progress=on_progress)
    if not session.acquisitions:
        raise DicomError(_explain_no_series(known, session, source))
    conditions = _read_conditions(session, known.write_serial(serial), temperature, stderr, field_strength)
    result = measure_session(
        known,
        conditions,
        [Acquired(a.suffix, a.run, a.series, a.phased) for a in session.acquisitions],
        geometry_scans=[Volume(scan.data[..., 0], scan.affine) for scan in session.geometry],
        regions=regions,
        threads=threads,
        on_progress=on_progress,
    )
    maps = compare_scanner_maps(session, result)
    methods = [r.method for r in result.results]
    wanted = [quantity for quantity in result.references if known.calibrates(quantity)]
    batches = {m.key: find_better_batch(known, conditions, m.quantity, result.table[result.table["method"] == m.key])
               for m in methods if m.is_primary}  # fmt: skip
    checks = check_session(wanted, methods, result.table, result.calibrations, result.problems, batches)
    verdict = str(judge(checks))
    sentence = describe_session(methods, result.table, checks)
    outcome = Outcome(verdict, sentence, checks, scans=session.scans, problems=result.problems)
    on_progress("writing")
    drawn = [_path_of(text) for text in rois]
    files = [find_definition(phantom), *dict.fromkeys(drawn)]
    warmth = _describe_temperature(conditions, is_assumed=temperature_stderr is None)
    outcome.files = _write(out, known, conditions, session, result, maps, outcome, files, warmth, threads)
    outcome.rows = _summarize(result)
    return outcome


def _explain_no_series(phantom: Phantom, session: Session, source: Path) -> str:
    kinds = sorted({q for array in phantom.definition["arrays"].values() for q in array["calibrates"]})
    seen = sorted({f"{row['reason'] or row['suffix']} ({row['disposition']})" for row in session.scans})
    return explain(
        "No series of the folder measures this phantom",
        where=str(source),
        expected=f"series for {', '.join(kinds)} of {phantom.definition['title']}",
        found="; ".join(seen[:6]) + (f"; and {len(seen) - 6} more" if len(seen) > 6 else ""),
        remedy="check --phantom, and that the quantitative series were exported as the scanner made them",
    )


def _read_conditions(session: Session, serial, temperature, stderr, field_strength) -> Conditions:
    strength = session.field_strength if field_strength is None else field_strength
    if strength is None or not strength > 0:
        raise DicomError(
            explain(
                "The field strength is not known",
                expected="Magnetic Field Strength (0018,0087) in the headers",
                found=strength,
                remedy="give it with --field-strength",
            )
        )
    return Conditions(serial, float(temperature), float(stderr), float(strength), session.date)


def read_hand_regions(texts: Sequence[str], phantom: Phantom) -> dict[str, tuple[np.ndarray, np.ndarray, bool]]:
    """Hand-made regions by quantity, from ``FILE`` or, where the phantom has several arrays, ``T1=FILE``.

    Each is the vials' numbers (n,), their places (n, 3) and whether these are voxels instead of RAS+ [mm].
    """
    arrays = [array["calibrates"] for array in phantom.definition["arrays"].values() if array["calibrates"]]
    quantities = sorted({quantity for calibrated in arrays for quantity in calibrated})
    found = {}
    for text in texts:
        head, sign, _ = text.partition("=")
        if sign and head not in quantities:
            raise ConfigError(
                explain("A file of regions is for no known quantity", where=f"--rois {text}",
                        expected=", ".join(quantities), found=head)
            )  # fmt: skip
        if not sign and len(arrays) > 1:
            raise ConfigError(
                explain(
                    f"{phantom.definition['title']} has several arrays: a file of regions must say which",
                    where=f"--rois {text}",
                    expected=" or ".join(f"--rois {q}={text}" for q in quantities),
                )
            )
        regions = read_rois(_path_of(text))
        for quantity in [head] if sign else quantities:
            found[quantity] = (regions.vials, regions.places, regions.in_voxels)
    return found


def _path_of(text: str) -> Path:
    """The file that ``FILE`` or ``T1=FILE`` names."""
    return Path(text.partition("=")[2] if "=" in text else text)


def compare_scanner_maps(session: Session, result: SessionResult) -> list[dict[str, Any]]:
    """The scanner's own maps in the same regions, held against the fit of the run that they were made from."""
    rows = []
    for quantity, image in session.scanner_maps:
        runs = [r for r in result.results if r.method.quantity == quantity and r.method.is_primary]
        start = {a.run: float(np.min(a.series.acquisition.get("AcquisitionTimeOfDay", np.nan)))
                 for a in session.acquisitions if a.suffix == "dwi"}  # fmt: skip
        made = float(image.acquisition["AcquisitionTimeOfDay"])
        # A map is computed from the run that was scanned last before it was made.
        before = [run for run in start if start[run] <= made + 1.0]
        own = next((r for r in runs if before and r.run == max(before, key=lambda run: start[run])), None)
        if own is None:
            continue
        place = result.places[result.place_of(own)]
        regions = list_regions(image, place.locations.centers, place.geometry)
        known = {r.vial: r.value for r in result.references[quantity]}
        for measured, region in zip(own.measurements, regions, strict=True):
            inside = image.data[region][:, 0]
            inside = inside[inside > 0]
            value = float(np.median(inside)) * SCANNER_ADC_UNIT if inside.size > 2 else np.nan
            rows.append(
                {
                    "quantity": quantity, "run": own.run, "vial": measured.vial, "reference": known[measured.vial],
                    "measured": measured.measured, "scanner": value, "unit": own.method.unit,
                    "difference_percent": 100 * (value / measured.measured - 1),
                }
            )  # fmt: skip
    return rows


def _summarize(result: SessionResult) -> list[tuple[str, ...]]:
    lines = []
    for key in dict.fromkeys(r.method.key for r in result.results):
        rows = result.table[result.table["method"] == key]
        used = rows[rows["used"].astype(bool)]
        bias = used["bias_percent"].astype(float)
        calibration = result.calibrations.get(key)
        left = calibration.checks.get("loo_rms_percent") if calibration else None
        title = next(r.method.title for r in result.results if r.method.key == key)
        figures = (
            (f"{bias.mean():+.1f}", f"{np.sqrt((bias**2).mean()):.1f}", f"{bias.abs().max():.1f}")
            if len(used)
            else ("–",) * 3
        )
        form = "no reference" if calibration is None else "refused" if calibration.refused else calibration.form
        lines.append((title, f"{len(used)} of {len(rows)}", *figures, form, "–" if left is None else f"{left:.1f}"))
    return lines


def _write(
    out: Path, phantom: Phantom, conditions: Conditions, session: Session, result: SessionResult, maps,
    outcome: Outcome, sources: list[Path], warmth: str, threads: int,
):  # fmt: skip
    from isocenter.report.phantom_page import PageContent, write_phantom_page

    files = [out / "vials.tsv", out / "series.tsv"]
    write_table(files[0], result.table)
    write_table(files[1], pd.DataFrame(session.scans))
    about = phantom.describe(conditions.serial, conditions.field_strength)
    made, pictures = _describe_and_draw(out, session, result, sources, threads)
    files.append(out / "vials.json")
    write_json(files[-1], _describe_table(about, conditions, session, made[""]))
    for key, calibration in result.calibrations.items():
        method = next(r.method for r in result.results if r.method.key == key)
        record = next((r.record for r in result.results if r.method.key == key and r.record), {})
        files.append(out / "calibration" / f"{key}.json")
        content = {
            "method": method.title,
            "model": method.model,
            "calibrates": method.is_primary,
            **calibration.to_dict(),
        }
        write_json(files[-1], {**content, **({"pulses": record} if record else {}), **made[key]})
    if maps:
        files.append(out / "scanner_maps.tsv")
        write_table(files[-1], pd.DataFrame(maps))
    scanner = session.scanner
    batch = f", batch {about['batch']}" if about["batch"] else ""
    facts = [
        ("Phantom", f"{about['title']}, serial {conditions.serial or 'not given'}{batch}"),
        ("Temperature", warmth),
        ("Scanner", f"{scanner['Manufacturer']} {scanner['ManufacturersModelName']}, {conditions.field_strength:g} T, "
                    f"serial {scanner['DeviceSerialNumber'] or 'not told'}, {scanner['SoftwareVersions']}"),
        ("Date of the scan", session.date or "not told"),
        ("Files", f"{session.n_files}, of which {session.n_no_dicom} are no DICOM images; {len(session.scans)} series"),
    ]  # fmt: skip
    for key, place in result.places.items():
        facts.append((f"Where vials of {key} lie", f"{place.how}; confidence {place.locations.confidence:.2f}"))
    sources = dict.fromkeys((q, r.source) for q, rows in result.references.items() for r in rows if r.source)
    facts += [(f"Reference of {quantity}", source) for quantity, source in sorted(sources)]
    content = PageContent(
        title=f"Phantom session {session.date}".strip(),
        subtitle=f"{about['title']}, serial {conditions.serial or 'not given'}, {scanner['ManufacturersModelName']}",
        verdict=outcome.verdict, sentence=outcome.sentence, checks=[vars(c) for c in outcome.checks], facts=facts,
        results=result.results, table=result.table, calibrations=result.calibrations, pictures=pictures,
        scans=session.scans, scanner_maps=maps, problems=result.problems,
    )  # fmt: skip
    files += sorted((out / "pictures").glob("*.png"))
    files.append(out / "index.html")
    write_phantom_page(files[-1], content)
    return files


def _describe_temperature(conditions: Conditions, *, is_assumed: bool) -> str:
    """What was said of the temperature, and what was not."""
    if is_assumed:
        return f"{conditions.temperature:g} °C as given, ± {conditions.temperature_stderr:g} °C assumed"
    return f"{conditions.temperature:g} ± {conditions.temperature_stderr:g} °C, as given"


def _describe_table(
    about: dict[str, Any], conditions: Conditions, session: Session, made: dict[str, Any]
) -> dict[str, Any]:
    """The sidecar of ``vials.tsv``: the conditions that its references hold for, and what it was made from."""
    return {
        "Phantom": about["name"], "PhantomSerial": conditions.serial, "PhantomBatch": about["batch"],
        "Temperature": conditions.temperature, "TemperatureStderr": conditions.temperature_stderr,
        "TemperatureUnits": "degC", "MagneticFieldStrength": conditions.field_strength, "Date": session.date,
        **session.scanner, "References": about["tables"], **made,
    }  # fmt: skip


def _describe_and_draw(
    out: Path, session: Session, result: SessionResult, sources: list[Path], threads: int
) -> tuple[dict[str, dict[str, Any]], list[tuple[str, bytes, str]]]:
    """What the table ("") and each calibration were made from; per place its picture: a title, PNG, how it was found.

    Side by side, in two processes: nearly all of it is Python's own work.
    """

    def describe() -> dict[str, dict[str, Any]]:
        keys = {key: [r for r in result.results if r.method.key == key] for key in result.calibrations}
        return {key: describe_sources(session, own, sources) for key, own in {"": result.results, **keys}.items()}

    def draw() -> list[tuple[str, bytes, str]]:
        return [
            (f"Vials of {key}", _draw_place(out, result, key, own), place.how)
            for key, place in result.places.items()
            if (own := _first_of(result, key)) is not None
        ]

    jobs: list[Callable[[], Any]] = [draw, describe]
    pictures, made = run_in_order(lambda number: jobs[number](), len(jobs), threads)
    return made, pictures


def _first_of(result: SessionResult, key: str) -> MethodResult | None:
    """The first result of a place."""
    return next((r for r in result.results if result.place_of(r) == key), None)


def _draw_place(out: Path, result: SessionResult, key: str, own: MethodResult) -> bytes:
    """The overview of a place and every region from near by, written below `out`."""
    from isocenter.figures.vials import draw_contact_sheet

    place = result.places[key]
    image, geometry = place.series, place.geometry
    spacing = tuple(float(s) for s in np.sqrt((image.affine[:3, :2] ** 2).sum(axis=0)))
    rows = result.table[(result.table["method"] == own.method.key) & (result.table["run"] == own.run)]
    used = dict(zip(rows["vial"], rows["used"].astype(bool), strict=True))
    voxels = find_voxels(place.locations.centers, image.affine)
    drawn = [{"vial": v, "voxel": p, "used": used.get(v, False)}
             for v, p in zip(place.locations.vials.tolist(), voxels, strict=True)]  # fmt: skip
    path = out / "pictures" / f"{key.replace(' ', '_')}.png"
    draw_contact_sheet(
        path, np.nan_to_num(image.data).mean(axis=3), spacing, drawn, diameter=geometry.roi_diameter,
        reach=0.75 * geometry.sphere_diameter, title=key,
    )  # fmt: skip
    return path.read_bytes()
