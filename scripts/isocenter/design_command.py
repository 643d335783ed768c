"""``isocenter plan``: designs against the bound that each would give, as a table and a plot."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.errors import ConfigError, explain
from isocenter.statistics.bounds import COEFFICIENTS

#: So many designs go through simulation: the smallest that the formula lets pass, and their neighbors.
MOST_SIMULATED = 6

_SVG = "http://www.w3.org/2000/svg"

#: The chance that a design should have to show what is true.
WANTED_CHANCE = 0.8


@dataclass
class PlanOutcome:
    """The designs worth looking at first, an answer in a sentence, and the files."""

    title: str
    answer: str
    table: Path
    figure: Path
    best: list[dict[str, Any]] = field(default_factory=list)


#: A count beyond this is a slip of the hand; so many designs are enough to choose from; so many values are simulated.
MOST_COUNTED, MOST_DESIGNS, MOST_VALUES = 10_000, 20_000, 1_000_000

#: Squares of these and their sums stay finite and above zero.
_SMALLEST, _LARGEST = 1e-30, 1e30


def read_counts(text: str, what: str) -> list[int]:
    """``3,5,8`` or ``3-6`` as numbers; ConfigError for anything else."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= MOST_COUNTED:
            raise ConfigError(
                explain(
                    f"These are no numbers of {what}",
                    where=f"--{what}",
                    expected=f"from 1 to {MOST_COUNTED}, such as 3,5,8 or 3-6",
                    found=text,
                    remedy="write whole numbers with commas, or a first and a last one with a dash",
                )
            )
        found.update(range(first, last + 1))
    return sorted(found)


def read_sd(value: float, option: str) -> float:
    """An assumed SD as a variance; ConfigError where it is none."""
    if value != 0 and not _SMALLEST <= value <= _LARGEST:
        raise ConfigError(
            explain(
                "This is no SD",
                where=f"--{option}",
                expected=f"0, or a number from {_SMALLEST:g} to {_LARGEST:g}",
                found=f"{value:g}",
                remedy="give the SD in the unit of the values, or in another unit",
            )
        )
    return value**2


def _check_request(coefficient: str, delta: float | None, simulate: int, missing: float, seed: int) -> None:
    """Raise ConfigError naming the option that no plan can be made of."""
    wrong = [
        (coefficient not in COEFFICIENTS, "coefficient", ", ".join(COEFFICIENTS), coefficient),
        (
            delta is not None and not _SMALLEST <= delta <= _LARGEST,
            "delta",
            f"the change that matters, from {_SMALLEST:g} to {_LARGEST:g} in the unit of the SDs",
            delta,
        ),
        (not 0 <= simulate <= MOST_COUNTED, "simulate", f"from 0 to {MOST_COUNTED} trials a design", simulate),
        (not 0 <= missing <= 0.9, "missing", "a share of the runs from 0 to 0.9", missing),
        (seed < 0, "seed", "0 or a larger whole number", seed),
    ]
    for is_wrong, option, expected, found in wrong:
        if is_wrong:
            raise ConfigError(
                explain(
                    "A plan cannot be made of this",
                    where=f"--{option}",
                    expected=expected,
                    found=str(found),
                    remedy=f"change --{option}",
                )
            )


def _check_grid(grid: dict[str, list[int]], simulate: int, most: int) -> None:
    """Raise ConfigError when the designs are too many, or too large to simulate."""
    count = int(np.prod([len(numbers) for numbers in grid.values()], dtype=float))
    if count > MOST_DESIGNS:
        raise ConfigError(
            explain(
                "These are more designs than anyone chooses from",
                where="--sites, --participants, --sessions, --repeats",
                expected=f"at most {MOST_DESIGNS}",
                found=str(count),
                remedy="name fewer numbers",
            )
        )
    if simulate and most > MOST_VALUES:
        raise ConfigError(
            explain(
                "A design is too large to simulate",
                where="--simulate",
                expected=f"at most {MOST_VALUES} scans",
                found=str(most),
                remedy="plan by formula alone with --simulate 0, or look at smaller designs",
            )
        )


def plan_designs(
    out: Path,
    *,
    variances: dict[str, float],
    coefficient: str,
    delta: float | None,
    grid: dict[str, list[int]],
    simulate: int = 200,
    missing: float = 0.0,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> PlanOutcome:
    """Every design of a grid by formula, the most promising ones by simulation; writes `plan.tsv` and `plan.svg`.

    Raises
    ------
    ConfigError
        When an option is out of its range, no design of the grid can estimate the coefficient, or repeats never differ.
    """
    import pandas as pd

    from isocenter.figures.planning import draw_bounds_by_sites
    from isocenter.io.nifti import write_bytes
    from isocenter.io.tables import write_table
    from isocenter.statistics.planning import expect_bound, list_designs, simulate_bound

    _check_request(coefficient, delta, simulate, missing, seed)
    _check_grid(grid, 0, 0)
    change = np.nan if delta is None else float(delta)
    if not variances["residual"] > 0:
        raise ConfigError(
            explain(
                "Repeats that never differ need no plan",
                where="--residual",
                expected="an SD above 0",
                found="0",
                remedy="give the SD of repeats, from a pilot or from publications",
            )
        )
    designs = [expect_bound(plan, variances, coefficient, change, seed) for plan in list_designs(grid)]
    designs = sorted((d for d in designs if np.isfinite(d.bound)), key=lambda d: (d.n_scans, d.bound))
    if not designs:
        raise ConfigError(
            explain(
                f"No design of this grid can tell the {coefficient.replace('_', ' ')}",
                expected="two repeats for repeatability; two sessions for intermediate_precision; three sites and two "
                "participants for reproducibility",
                found="; ".join(
                    f"{name[2:].replace('subject', 'participant')} {', '.join(map(str, counts[:8]))}"
                    for name, counts in grid.items()
                ),
                remedy="look at larger designs, or plan another coefficient",
            )
        )
    enough = [d for d in designs if d.chance >= WANTED_CHANCE]
    chosen = (enough or sorted(designs, key=lambda d: d.bound))[:MOST_SIMULATED]
    _check_grid(grid, simulate, max(d.n_scans for d in chosen))
    if simulate:
        done, total = 0, simulate * len(chosen)

        def count() -> None:
            nonlocal done
            done += 1
            if on_progress and (done % 10 == 0 or done == total):
                on_progress(done, total)

        simulated = {
            id(d): simulate_bound(
                d, variances, coefficient, change, trials=simulate, missing=missing, seed=seed, on_trial=count
            )
            for d in chosen
        }
        designs = [simulated.get(id(d), d) for d in designs]
        chosen = [simulated[id(d)] for d in chosen]
    rows = [_to_row(d, coefficient, change) for d in designs]
    out.mkdir(parents=True, exist_ok=True)
    table, figure = out / "plan.tsv", out / "plan.svg"
    write_table(table, pd.DataFrame(rows))
    drawing = draw_bounds_by_sites(rows, change, coefficient)
    # Charts are made for pages; a file of its own says what it is and in which letters.
    alone = drawing.replace("<svg ", f'<svg xmlns="{_SVG}" font-family="sans-serif" style="background:#fff" ', 1)
    alone = alone.replace(' style="max-width', ' data-page="max-width', 1)
    write_bytes(figure, alone.encode("utf-8"))
    name = coefficient.replace("_", " ")
    return PlanOutcome(
        f"Designs for {name}, true value {designs[0].true:.4g}",
        _answer(enough, designs, change, name),
        table,
        figure,
        [_to_row(d, coefficient, change) for d in chosen],
    )


def _to_row(d, coefficient: str, delta: float) -> dict[str, Any]:
    return {
        "design": d.plan.describe(),
        "n_sites": d.plan.n_sites,
        "n_participants": d.plan.n_subjects,
        "n_sessions": d.plan.n_sessions,
        "n_repeats": int(d.plan.n_repeats),
        "n_scans": d.n_scans,
        "coefficient": coefficient,
        "true_value": d.true,
        "df": d.df,
        "bound": d.bound,
        "bound_over_true": d.bound / d.true,
        "delta": delta,
        "chance": d.chance,
        "bound_simulated": d.bound_simulated,
        "chance_simulated": d.chance_simulated,
    }


def _answer(enough: list, designs: list, delta: float, name: str) -> str:
    if not np.isfinite(delta):
        return "Without --delta no design is chosen; the plot shows what each gives."
    if enough:
        first = enough[0]
        return (
            f"The smallest design of the grid with a chance of {100 * WANTED_CHANCE:.0f} % or more to show a "
            f"{name} within {delta:g}: "
            f"{first.plan.describe()} ({first.n_scans} scans; chance by formula {100 * first.chance:.0f} %)."
        )
    if designs[0].true >= delta:
        return (
            f"The assumed {name} itself, {designs[0].true:.4g}, is not below {delta:g}: no design can show that it is."
        )
    best = max(designs, key=lambda d: d.chance)
    return (
        f"No design of the grid has a chance of {100 * WANTED_CHANCE:.0f} %; the best, {best.plan.describe()}, has "
        f"{100 * best.chance:.0f} % by formula. "
        "More sites help most where the site SD is large, more participants and repeats elsewhere."
    )
