"""``isocenter plan``: designs against the bound that each would give, as a table and a plot."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.errors import ConfigError, explain

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


def read_counts(text: str, what: str) -> list[int]:
    """``3,5,8`` or ``3-6`` as numbers; ConfigError for anything else."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or int(first) < 1:
            raise ConfigError(explain(f"These are no numbers of {what}", expected="such as 3,5,8 or 3-6", found=text))
        found += range(int(first), int(last or first) + 1)
    return sorted(set(found))


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
        When no design of the grid can estimate the coefficient, or the variances are all zero.
    """
    import pandas as pd

    from isocenter.figures.planning import draw_bounds_by_sites
    from isocenter.io.nifti import write_bytes
    from isocenter.io.tables import write_table
    from isocenter.statistics.planning import expect_bound, list_designs, simulate_bound

    change = np.nan if delta is None else float(delta)
    if not variances["residual"] > 0:
        raise ConfigError(
            explain("Repeats that never differ need no plan", expected="a residual SD above 0", found="0")
        )
    designs = [expect_bound(plan, variances, coefficient, change, seed) for plan in list_designs(grid)]
    designs = sorted((d for d in designs if np.isfinite(d.bound)), key=lambda d: (d.n_scans, d.bound))
    if not designs:
        raise ConfigError(
            explain(
                f"No design of this grid can tell the {coefficient.replace('_', ' ')}",
                expected="two repeats or sessions; three sites for reproducibility",
                found=str(grid),
            )
        )
    enough = [d for d in designs if d.chance >= WANTED_CHANCE]
    chosen = (enough or sorted(designs, key=lambda d: d.bound))[:MOST_SIMULATED]
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
            f"The smallest design of the grid with a chance of {WANTED_CHANCE:.0%} or more to show a {name} within "
            f"{delta:g}: "
            f"{first.plan.describe()} ({first.n_scans} scans; chance by formula {first.chance:.0%})."
        )
    if designs[0].true >= delta:
        return (
            f"The assumed {name} itself, {designs[0].true:.4g}, is not below {delta:g}: no design can show that it is."
        )
    best = max(designs, key=lambda d: d.chance)
    return (
        f"No design of the grid has a chance of {WANTED_CHANCE:.0%}; the best, {best.plan.describe()}, has "
        f"{best.chance:.0%}. "
        "More sites help most where the site SD is large, more participants and repeats elsewhere."
    )
