"""Coverage of the statistics' intervals in simulated trials: how often each holds the truth.

    python -m benchmarks.coverage --runs 2000 --workers 2

Trials are 6 traveling participants × J sites × 2 sessions × 2 repeats, complete and with 20 % of the runs missing at
random, for patterns of variance that put the weight on one component after another and set others to zero. One-sided
95 % bounds (repeatability, intermediate precision, RDC) should hold the truth in 95 % or more, two-sided 95 % intervals
(wCV, ICCs, limits of agreement) in 93 to 97 %. Each run is seeded by its number: any part can be repeated alone.
"""

import argparse
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from isocenter.processes import run_in_order
from isocenter.statistics.agreement import answer_from_mean_squares
from isocenter.statistics.bland_altman import compare_clustered, compare_pairs
from isocenter.statistics.bounds import COEFFICIENTS, bound_coefficient, find_component_iccs
from isocenter.statistics.components import estimate_components
from isocenter.statistics.design import build_design
from isocenter.statistics.planning import PARTS, simulate_values
from isocenter.statistics.power import Plan
from isocenter.statistics.quantiles import Z975, K
from isocenter.statistics.repeatability import estimate_repeatability

#: SDs of subject, site, subject × site, session and residual, around a mean of 100.
PATTERNS = {
    "even": (5, 1, 1, 1, 1),
    "sites": (5, 3, 0.5, 0.5, 1),
    "sites alone": (5, 2, 0, 0, 1),
    "sessions": (5, 0.5, 0.5, 2, 1),
    "interaction": (5, 0.5, 2, 0.5, 1),
    "residual alone": (5, 0, 0, 0, 1),
}
NAMES = ("subject", "site", "subject:site", "session", "residual")
MEAN, SUBJECTS, SESSIONS, REPEATS = 100.0, 6, 2, 2
TWO_SIDED = ("wCV", "ICC(A,1)", "ICC(C,1)", "ICC_between_sites", "ICC_consistency", "ICC_retest", "limits")


def simulate_run(seed: int, pattern: str, sites: int, missing: float) -> dict[str, bool]:
    """Which intervals of one trial hold the truth; an interval that is not estimable is left out."""
    rng = np.random.default_rng((seed, sites, round(100 * missing), list(PATTERNS).index(pattern)))
    variances = {name: float(sd) ** 2 for name, sd in zip(NAMES, PATTERNS[pattern], strict=True)}
    y, subject, site, session = simulate_values(Plan(sites, SUBJECTS, SESSIONS, REPEATS), variances, rng)
    y = y + MEAN
    keep = rng.random(len(y)) >= missing
    components = estimate_components(build_design(np.where(keep, y, np.nan), subject, site, session))
    held = {}
    for name in COEFFICIENTS:
        found = bound_coefficient(components, name)
        if np.isfinite(found.upper95):
            held[name] = found.upper95 >= K * np.sqrt(sum(variances[part] for part in PARTS[name]))
    group = (subject * sites + site) * SESSIONS + session
    within = estimate_repeatability(y[keep], group[keep])
    between = sum(variances[name] for name in NAMES if name != "residual")
    # E[1/m²] of the level m of a session, normal around the mean with a small spread.
    wcv = np.sqrt(variances["residual"] * (1 + 3 * between / MEAN**2)) / MEAN
    held["wCV"] = within.wcv_low <= wcv <= within.wcv_high
    held |= _hold_iccs(components, y, sites, variances, seed, complete=not missing)
    pairs = y.reshape(-1, REPEATS)
    both = keep.reshape(-1, REPEATS).all(1)
    limits = compare_clustered(
        (pairs[:, 1] - pairs[:, 0])[both], pairs.mean(1)[both], subject.reshape(-1, REPEATS)[both, 0]
    )
    truth = Z975 * np.sqrt(2 * variances["residual"])
    held["limits"] = limits.loa_upper_low <= truth <= limits.loa_upper_high
    return {name: bool(value) for name, value in held.items()}


def _hold_iccs(components, y, sites, variances, seed, *, complete: bool) -> dict[str, bool]:
    total = sum(variances.values())
    subject, retest = variances["subject"], variances["subject"] + variances["subject:site"]
    truths = {
        "ICC_between_sites": subject / total,
        "ICC_consistency": subject / (total - variances["site"]),
        "ICC_retest": retest / (total - variances["site"]),
    }
    held = {
        r.name: r.low <= truths[r.name] <= r.high
        for r in find_component_iccs(components, seed, 2000)
        if np.isfinite(r.low)
    }
    if complete:
        first = y.reshape(SUBJECTS, sites, -1)[:, :, 0]
        forms = answer_from_mean_squares(first)
        held["ICC(A,1)"] = forms[1][1] <= truths["ICC_between_sites"] <= forms[1][2]
        held["ICC(C,1)"] = forms[2][1] <= truths["ICC_consistency"] <= forms[2][2]
    return held


def simulate_pairs(seed: int, n: int = 20) -> dict[str, bool]:
    """Exact limits of agreement and one-way ICC of n pairs (one site, a retest)."""
    rng = np.random.default_rng((seed, 1))
    pairs = rng.normal(0, 2, (n, 1)) + rng.normal(0, 1, (n, 2))
    limits = compare_pairs(pairs[:, 1] - pairs[:, 0], pairs.mean(1))
    truth = Z975 * np.sqrt(2)
    one = answer_from_mean_squares(pairs)[0]
    return {
        "limits, exact": bool(limits.loa_upper_low <= truth <= limits.loa_upper_high),
        "ICC(1,1)": bool(one[1] <= 0.8 <= one[2]),
    }


def count_held(task, runs: int, workers: int) -> dict[str, float]:
    """Share of runs in which each interval holds the truth."""
    held, asked = Counter(), Counter()
    for found in run_in_order(task, runs, workers):
        held.update({name: int(value) for name, value in found.items()})
        asked.update(found.keys())
    return {name: held[name] / asked[name] for name in asked}


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sites", type=int, nargs="+", default=[3, 5, 8])
    parser.add_argument("--missing", type=float, nargs="+", default=[0.0, 0.2])
    parser.add_argument("--patterns", nargs="+", default=list(PATTERNS))
    options = parser.parse_args()
    names = (*COEFFICIENTS, *TWO_SIDED)
    print("| sites | missing | pattern | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 3))
    for sites in options.sites:
        for missing in options.missing:
            for pattern in options.patterns:
                run = partial(simulate_run, pattern=pattern, sites=sites, missing=missing)
                shares = count_held(run, options.runs, options.workers)
                cells = [f"{100 * shares[n]:.1f}" if n in shares else "" for n in names]
                print(f"| {sites} | {missing:.0%} | {pattern} | " + " | ".join(cells) + " |", flush=True)
    shares = count_held(simulate_pairs, options.runs, options.workers)
    print(", ".join(f"{name} {100 * value:.1f} %" for name, value in shares.items()))


if __name__ == "__main__":
    main()
