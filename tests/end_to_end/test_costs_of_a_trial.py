"""What the jobs of the demonstration trial took, as their logs say."""

import sys
from pathlib import Path

import pytest

from isocenter.demands import DEMANDS

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.costs import describe, read_costs, read_overhead

pytestmark = pytest.mark.demo

#: Of the processor time of a whole run, what may go to Snakemake, the warm server and the starts of jobs.
OVERHEAD = 0.15
#: Rules with more than one thread, and how many they get on the two cores of the demo.
THREADS = {"choose_pulses": 2, "compute_statistics": 2, "make_report": 2}


@pytest.fixture(scope="module")
def costs(demo):
    return read_costs(demo.directory)


def test_every_rule_that_ran_tells_its_cost(demo, costs):
    logged = {path.relative_to(demo.directory / "results" / "logs").parts[0].removesuffix(".log")
              for path in (demo.directory / "results" / "logs").rglob("*.log")} - {"run"}  # fmt: skip
    assert len(logged) > 10
    assert set(costs) == logged
    assert set(costs) <= set(DEMANDS)


def test_jobs_stay_within_the_memory_that_their_rules_declare(costs):
    for rule, group in costs.items():
        worst = max(group, key=lambda cost: cost.memory / cost.declared)
        assert worst.memory <= worst.declared, f"{rule}: {worst}"


def test_jobs_stay_within_their_cores(costs):
    """Processor time is counted in ticks of a hundredth of a second, those of the start included."""
    for rule, group in costs.items():
        for cost in group:
            assert cost.work_processor <= 1.02 * THREADS.get(rule, 1) * cost.work + 0.1, f"{rule}: {cost}"


def test_starting_jobs_costs_little_beside_their_work(demo, costs, capsys):
    overhead = read_overhead(demo.directory)
    if overhead is None or overhead.n_jobs < sum(map(len, costs.values())):
        pytest.skip("the last run of this trial was not its whole")
    with capsys.disabled():
        print("\n", describe(overhead))
    assert overhead.share < OVERHEAD
