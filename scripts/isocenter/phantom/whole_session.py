"""A whole phantom session: vials located once an array, measured by every method that the series allow, calibrated."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from isocenter.calibration import Calibration
from isocenter.errors import IsocenterError
from isocenter.phantom.complex_images import measure_complex
from isocenter.phantom.echo_trains import known_t1, measure_echo_trains
from isocenter.phantom.hand_regions import DrawnVials
from isocenter.phantom.library import Geometry, Phantom, VialReference, without_reference
from isocenter.phantom.locate_phantom import PhantomPose
from isocenter.phantom.measure import VialMeasurement
from isocenter.phantom.methods import ECHO_TRAIN, FLIP_ANGLES, FLIP_ANGLES_B1, METHODS
from isocenter.phantom.places import BY_HAND, Place, find_geometry, find_place, find_pose, fit_crude
from isocenter.phantom.regions import find_voxels
from isocenter.phantom.sessions import VIAL_COLUMNS, calibrate_vials, tabulate_vials
from isocenter.phantom.slice_cut import mark_cut
from isocenter.phantom.strays import mark_strays
from isocenter.phantom.transmit_field import estimate_transmit_field
from isocenter.phantom.vial_fits import Method, MethodResult, apply_shared_inversion, measure_method
from isocenter.processes import run_in_order
from isocenter.trouble import raise_trouble
from isocenter.volume import Series, Volume

#: Columns of a session's table beyond those of ``vials.tsv``: both estimates of each vial, how they were made, and
#: where the vial lies, RAS+ [mm], as a file of regions would say it.
OWN_COLUMNS = ("method", "model", "run", "voxel_measured", "voxel_stderr", "mean_measured", "mean_stderr", "primary",
               "x", "y", "z")  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """Of the phantom in this session. temperature [degC], field_strength [T]; labels of the table."""

    serial: str
    temperature: float
    temperature_stderr: float
    field_strength: float
    date: str = ""


@dataclass(frozen=True)
class Acquired:
    """One acquisition: its BIDS suffix, its number among those of its suffix, its images, complex ones where known."""

    suffix: str
    run: int
    series: Series
    phased: Series | None = None


@dataclass
class SessionResult:
    """What came out. table : rows of every vial and method; problems : (what, why) of what could not be done."""

    results: list[MethodResult] = field(default_factory=list)
    references: dict[str, list[VialReference]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*VIAL_COLUMNS, *OWN_COLUMNS]))
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    pose: PhantomPose | None = None
    _found_at: dict[int, str] = field(default_factory=dict)

    def place_of(self, result: MethodResult) -> str:
        """The name in `places` of where a result's vials were found."""
        return self._found_at.get(id(result), "")


def measure_session(
    phantom: Phantom,
    conditions: Conditions,
    acquired: list[Acquired],
    *,
    geometry_scans: list[Volume] | None = None,
    regions: dict[str, DrawnVials] | None = None,
    forms: tuple[str, ...] = ("none", "gain", "linear", "quadratic"),
    threads: int = 1,
    on_progress: Callable[[str], None] = lambda text: None,
) -> SessionResult:
    """Measure every vial by every method.

    Parameters
    ----------
    phantom : Phantom
        The kind of phantom.
    conditions : Conditions
        Its serial number, temperature and the field.
    acquired : list of Acquired
        The quantitative series of the session.
    geometry_scans : list of Volume, optional
        3D scans of the whole phantom: the first in which it is found tells where all vials lie.
    regions : mapping of quantity to (numbers (n,), places (n, 3), in voxels), optional
        Where a hand-made file puts the vials; they are then not searched.
    forms : tuple of str
        The forms of calibration that may be chosen.
    threads : int
        Threads to use; the result is the same for any number. With more than one, arrays are measured side by side, in
        processes that share the cores.
    on_progress : callable, optional
        Called with what is being done.

    Raises
    ------
    CalibrationError
        The phantom has no table for this serial number, field or temperature.
    """
    result = SessionResult()
    # The request itself may be wrong: a serial or a temperature outside the tables raises here, before any work.
    for method in {m.quantity: m for one in acquired for m in METHODS.get(one.suffix, ())}.values():
        if phantom.calibrates(method.quantity):
            result.references[method.quantity] = _look_up(phantom, method.quantity, conditions)
        elif phantom.shows(method.quantity):
            result.references[method.quantity] = phantom.without_reference(method.quantity)
            result.problems.append((method.title, without_reference(phantom.name, method.quantity)))
    regions = regions or {}
    if geometry_scans and set(result.references) - set(regions):
        on_progress("finding the phantom in the geometry scan")
        result.pose, problems = find_pose(phantom, geometry_scans)
        result.problems += problems
    for task, done in _measure_arrays(phantom, conditions, acquired, result, regions, threads, on_progress):
        result.problems += done.problems
        if done.place is not None:
            result.places[done.place_key] = replace(done.place, series=task.one.series)
        for found in done.results:
            result.results.append(found)
            result._found_at[id(found)] = done.place_key
    on_progress("calibrating")
    if result.results:
        result.table = pd.concat([_tabulate(r, phantom, conditions, result) for r in result.results], ignore_index=True)
    for key in dict.fromkeys(r.method.key for r in result.results):
        method = next(r.method for r in result.results if r.method.key == key)
        if not phantom.calibrates(method.quantity):
            continue
        rows = result.table[result.table["method"] == key]
        # A vial that the table leaves out is left out here too, so that page and calibration say the same.
        used = rows[rows["used"].astype(bool)]
        result.calibrations[key] = calibrate_vials(used if len(used) else rows, method.quantity, method.unit, forms)
    return result


@dataclass(frozen=True)
class _Task:
    """One method and the acquisition that it is fitted to."""

    one: Acquired
    method: Method


@dataclass
class _Done:
    """What came of one task. place : where its array lies, if that was found by this task, without the series."""

    results: list[MethodResult] = field(default_factory=list)
    place_key: str = ""
    place: Place | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)


def _measure_arrays(
    phantom: Phantom,
    conditions: Conditions,
    acquired: list[Acquired],
    known: SessionResult,
    regions,
    threads,
    on_progress,
) -> list[tuple[_Task, _Done]]:
    """Every method on every acquisition, in the order of the methods' suffixes."""
    tasks = [
        _Task(one, method)
        for one in sorted(acquired, key=lambda a: (list(METHODS).index(a.suffix) if a.suffix in METHODS else 99, a.run))
        for method in METHODS.get(one.suffix, ())
        if method.quantity in known.references and not (method.needs_phase and one.phased is None)
    ]
    # Methods of one array wait for each other: the first finds the vials, and whether it succeeds says what the next
    # is for. Those of several arrays have nothing in common.
    arrays: dict[str, list[int]] = {}
    for number, task in enumerate(tasks):
        arrays.setdefault(_array_of(phantom, task.method.quantity, regions), []).append(number)
    chains = list(arrays.values())
    is_apart = threads > 1 and len(chains) > 1
    if is_apart:
        on_progress(", ".join(dict.fromkeys(task.method.quantity for task in tasks)))

    def measure(chain: int) -> list[_Done]:
        own = [tasks[number] for number in chains[chain]]
        tell = (lambda text: None) if is_apart else on_progress  # a process of its own has no terminal
        return _measure_array(phantom, conditions, own, known, regions, threads, tell)

    done: dict[int, _Done] = {}
    for numbers, found in zip(chains, run_in_order(measure, len(chains), threads), strict=True):
        done |= zip(numbers, found, strict=True)
    return [(task, done[number]) for number, task in enumerate(tasks)]


def _array_of(phantom: Phantom, quantity: str, regions) -> str:
    """The array in which a quantity is measured; the quantity itself where its vials have no place."""
    try:
        is_drawn = (regions.get(quantity) or regions.get(phantom.order_of(quantity))) is not None
        return find_geometry(phantom, quantity, is_drawn=is_drawn).array
    except IsocenterError:  # told where it is measured
        return quantity


def _measure_array(
    phantom: Phantom, conditions: Conditions, tasks: list[_Task], known: SessionResult, regions, threads, on_progress
) -> list[_Done]:
    """The methods of one array, one after the other."""
    places: dict[str, Place] = {}
    primary_done: dict[str, str] = {}
    outcomes = []
    for task in tasks:
        one, method, done = task.one, task.method, _Done()
        outcomes.append(done)
        is_first = primary_done.get(method.quantity, method.key) == method.key
        may_calibrate = phantom.calibrates(method.quantity) and is_first
        method = replace(method, is_primary=method.is_primary and may_calibrate)
        on_progress(f"{method.title}{f', run {one.run}' if one.run > 1 else ''}")
        try:
            _measure_one(phantom, conditions, one, method, known, places, done, regions, threads)
            if method.is_primary:
                primary_done[method.quantity] = method.key
        except Exception as error:  # one method that fails must not stop the others
            raise_trouble(error)  # want of disk or memory is no fault of the phantom's
            why = str(error) if isinstance(error, IsocenterError) else f"{type(error).__name__}: {error}"
            done.problems.append((f"{method.title}, {one.suffix} run {one.run}", why))
    return outcomes


def _look_up(phantom: Phantom, quantity: str, conditions: Conditions) -> list[VialReference]:
    return phantom.reference(
        quantity, conditions.serial, conditions.field_strength, conditions.temperature, conditions.temperature_stderr
    )


def _measure_one(
    phantom, conditions, one: Acquired, method: Method, session: SessionResult, places: dict[str, Place], done: _Done,
    regions, threads,
) -> None:  # fmt: skip
    reference = session.references[method.quantity]
    options = phantom.fit_options(method.quantity, conditions.temperature)
    method = replace(method, options={**method.options, **options})
    order = phantom.order_of(method.quantity)
    drawn = regions.get(method.quantity) or regions.get(order)
    geometry = find_geometry(phantom, method.quantity, is_drawn=drawn is not None)
    key = _name_place(phantom, geometry, one, order, regions)
    done.place_key = key
    if key not in places:
        crude = None if drawn else fit_crude(one.series, method, threads, geometry.sphere_diameter)
        # Without values of their own the vials are told apart by those of the quantity that their array is made for.
        known = reference if order == method.quantity else _look_up(phantom, order, conditions)
        places[key], problems = find_place(one.series, crude, geometry, known, pose=session.pose, drawn=drawn)
        done.problems += problems
        done.place = replace(places[key], series=None)  # large, and known to who asked
    place = places[key]
    reference = [r for r in reference if r.vial in place.locations.vials]
    where = replace(place.locations, voxels=find_voxels(place.locations.centers, one.series.affine))
    if place.how != BY_HAND:
        where = mark_cut(one.series, place.geometry, where)
    if method.key == ECHO_TRAIN.key:
        t1 = known_t1(phantom, conditions.serial, conditions.field_strength, conditions.temperature, place)
        found = measure_echo_trains(method, one.series, place.geometry, where, reference, t1, run=one.run,
                                    threads=threads)  # fmt: skip
    elif method.needs_phase:
        found = measure_complex(method, one.phased, place.geometry, where, reference, run=one.run, threads=threads)
    else:
        found = measure_method(method, one.series, place.geometry, where, reference, run=one.run, threads=threads)
    if "inversion_efficiency" in found.extra:
        apply_shared_inversion(found, one.series)
    done.results.append(found)
    if method.key == FLIP_ANGLES.key:
        with_field = _correct_flip_angles(found, one.series, where.centers, reference)
        if with_field is not None:
            done.results.append(with_field)


def _name_place(phantom: Phantom, geometry: Geometry, one: Acquired, quantity: str, regions) -> str:
    """Vials of an array lie at one place for all series, but where repeats or a person's files say otherwise."""
    # Diffusion repeats may be days apart in place; the plates of one exam are not.
    if one.suffix == "dwi":
        return f"{geometry.array} {one.run}"
    drawn = {id(own) for name, own in regions.items() if phantom.array(name) == geometry.array}
    return f"{geometry.array} {quantity}" if len(drawn) > 1 else geometry.array


def _correct_flip_angles(found: MethodResult, series: Series, centers: np.ndarray, reference) -> MethodResult | None:
    """T1 by flip angles with the B1 that the other vials tell."""
    usable = np.array([m.used and r.flag == "ok" for m, r in zip(found.measurements, reference, strict=True)])
    acquisition = {k: series.acquisition[k] for k in ("FlipAngle", "RepetitionTimeExcitation", "RepetitionTime")
                   if k in series.acquisition}  # fmt: skip
    clean = np.where(found.left_out, np.nan, found.signals)
    t1 = np.array([r.value for r in reference])
    b1 = estimate_transmit_field(acquisition, clean, centers, t1, usable)
    if b1 is None:
        return None
    measured = []
    for v, (old, own) in enumerate(zip(found.measurements, reference, strict=True)):
        flag, reason = (old.flag, old.reason) if np.isfinite(b1.t1[v]) else ("no_value", "no fit with this B1")
        measured.append(VialMeasurement(own.vial, float(b1.t1[v]), float(b1.t1_stderr[v]), flag, old.n_voxels, reason))
    means = np.column_stack([b1.t1, b1.t1_stderr])
    result = replace(
        found, method=FLIP_ANGLES_B1, measurements=measured, voxels=np.full_like(means, np.nan), means=means,
        extra={"B1": b1.predicted, "own B1": b1.b1}, quality={}, notes=[], record={},
    )  # fmt: skip
    known = b1.b1[np.isfinite(b1.b1)]
    result.quality["B1 over the T1 array"] = (
        float(np.mean(known)), float(np.std(known, ddof=1)), "1",
        "mean and spread over the vials of actual over nominal flip angle, from flip angles and reference T1",
    )  # fmt: skip
    result.notes = [
        f"No map of B1 was used: B1 comes from the phantom itself, a {b1.form} field through the other vials, so that "
        "each vial's own reference has no part in its value. It shows what a map of B1 would leave; it is no "
        "independent measurement of T1.",
    ]
    return result


def _tabulate(r: MethodResult, phantom: Phantom, conditions: Conditions, result: SessionResult) -> pd.DataFrame:
    measured = {m.vial for m in r.measurements}
    reference = [one for one in result.references[r.method.quantity] if one.vial in measured]
    table = tabulate_vials(
        reference, r.measurements, session=str(r.run), date=conditions.date, phantom=phantom.name,
        serial=conditions.serial, biomarker=r.method.quantity, unit=r.method.unit,
    )  # fmt: skip
    n = len(table)
    own = {
        "method": [r.method.key] * n,
        "model": [r.method.model] * n,
        "run": [r.run] * n,
        "voxel_measured": r.voxels[:, 0],
        "voxel_stderr": r.voxels[:, 1],
        "mean_measured": r.means[:, 0],
        "mean_stderr": r.means[:, 1],
        "primary": [r.method.is_primary] * n,
        **dict(zip("xyz", result.places[result.place_of(r)].locations.centers.T, strict=True)),
    }
    quality = {
        "inversion_efficiency": r.extra.get("inversion_efficiency", np.full(n, np.nan)),
        "b1": r.extra.get("B1", np.full(n, np.nan)),
    }
    return mark_strays(table.assign(**quality, **own)[[*VIAL_COLUMNS, *OWN_COLUMNS]])
