"""The pulses of each scanner and protocol, chosen once by all echo trains of the phantom that it scanned.

The trains of several sessions are stacked: pulses belong to a scanner and its protocol, not to a day. With one session
this is what the session alone would choose, to the bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from isocenter.errors import IsocenterError
from isocenter.phantom.pulse_choice import PulseChoice, TrainFit, choose_pulses
from isocenter.phantom.pulse_options import is_same_protocol

#: The options of a fit that describe the pulses; the background below a phantom's late echoes is not theirs.
PULSE_OPTIONS = ("profile", "time_bandwidth", "thickness_ratio", "pulse_duration")


@dataclass(frozen=True)
class Train:
    """The vials of one echo train of a phantom.

    scan : names it (``sub-phantom1_ses-01_run-1``); scanner : its id; vials : (v,) numbers; centers : (v, 3) [mm]
    how : how the vials were found; acquisition : EchoTime (n,) [s], RefocusingFlipAngle [deg]
    signal : (v, n) means [a.u.], NaN where clipped; t1 : (v,) [s], None where the phantom's table has none
    """

    scan: str
    scanner: str
    vials: np.ndarray
    centers: np.ndarray
    how: str
    acquisition: Mapping[str, Any]
    signal: np.ndarray
    t1: np.ndarray | None


@dataclass(frozen=True)
class ScannerPulses:
    """What was chosen for one scanner and protocol. choice : of all `trains` in their order; None with a `reason`."""

    scanner: str
    acquisition: Mapping[str, Any]
    trains: list[Train]
    choice: PulseChoice | None
    reason: str = ""


def choose_for_scanners(trains: list[Train], *, threads: int = 1) -> list[ScannerPulses]:
    """One choice a scanner and protocol, in the order of their first trains."""
    groups: list[list[Train]] = []
    for train in trains:
        own = next(
            (g for g in groups if g[0].scanner == train.scanner
             and is_same_protocol(g[0].acquisition, train.acquisition)), None
        )  # fmt: skip
        if own is None:
            groups.append([train])
        else:
            own.append(train)
    return [_choose(group, threads) for group in groups]


def _choose(group: list[Train], threads: int) -> ScannerPulses:
    first = group[0]
    # One echo time array for all: they agree to what a header rounds.
    order = [np.argsort(np.asarray(train.acquisition["EchoTime"]), kind="stable") for train in group]
    back = np.argsort(order[0], kind="stable")
    signal = np.vstack([train.signal[:, o][:, back] for train, o in zip(group, order, strict=True)])
    options = {}
    if all(train.t1 is not None for train in group):
        options["t1"] = np.concatenate([train.t1 for train in group])
    try:
        choice = choose_pulses(first.acquisition, signal, options=options, threads=threads)
    except IsocenterError as error:
        return ScannerPulses(first.scanner, first.acquisition, group, None, str(error))
    return ScannerPulses(first.scanner, first.acquisition, group, choice)


def describe_choice(found: ScannerPulses) -> dict[str, Any]:
    """What a fit must know: scanner, protocol, the options that describe the pulses or why there are none."""
    chosen = None if found.choice is None else found.choice.recorded
    return {
        "scanner": found.scanner,
        "protocol": {key: np.asarray(value) for key, value in found.acquisition.items()},
        "options": None if chosen is None else {key: chosen[key] for key in PULSE_OPTIONS if key in chosen},
        "reason": found.reason or "the smallest residual over the vials of the scanner's phantom",
    }


def record_choice(found: ScannerPulses) -> dict[str, Any]:
    """Everything that was found, as plain content: candidates with their residuals, and the vials of every train."""
    content = describe_choice(found) | {"n_trains": len(found.trains)}
    if found.choice is None:
        return content | {"candidates": [], "trains": []}
    choice, first, trains = found.choice, 0, []
    for train in found.trains:
        rows = slice(first, first + len(train.vials))
        first = rows.stop
        own = {name: getattr(choice, name)[rows] for name in ("t2", "t2_stderr", "spread", "background")}
        trains.append(
            {
                "scan": train.scan, "vials": train.vials, "centers": train.centers, "how": train.how,
                "t1": choice.options["t1"][rows], **own,
                "fit": {f.name: getattr(choice.chosen, f.name)[rows] for f in fields(TrainFit)},
            }
        )  # fmt: skip
    return content | {"shared": choice.recorded, "candidates": choice.table, "trains": trains}


def read_choice(content: Mapping[str, Any], scan: str) -> tuple[PulseChoice, np.ndarray, np.ndarray, str] | None:
    """What `record_choice` kept of one scan: the choice, the vials (v,), their centers (v, 3) [mm] and how found."""
    for group in content["choices"]:
        train = next((t for t in group["trains"] if t["scan"] == scan), None)
        if train is None:
            continue
        kinds = {"flag": np.uint8, "has_offset": bool}
        fit = TrainFit(**{name: np.array(values, kinds.get(name, float)) for name, values in train["fit"].items()})
        arrays = (np.array(train[name], dtype=float) for name in ("t2", "t2_stderr", "spread", "background"))
        options = {**group["shared"], "t1": np.array(train["t1"], dtype=float)}
        choice = PulseChoice(options, group["candidates"], *arrays, chosen=fit)
        return choice, np.array(train["vials"], dtype=int), np.array(train["centers"], dtype=float), train["how"]
    return None
