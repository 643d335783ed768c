"""Plans of trials without images: the parts add up to the whole, and the cost of a large one has a bound."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import growth
from benchmarks.growth import BAR, measure_plan, measure_trial
from benchmarks.planned_trial import Size, write_planned_trial

from isocenter import layout
from isocenter.recorded_run import name_sites
from isocenter.runner import POOL, SNAKEFILE


def test_sites_and_pool_have_the_jobs_of_the_whole(tmp_path):
    """What one run does, the runs of the sites and the pool do together: no job is lost, none comes twice."""
    write_planned_trial(tmp_path, Size(2, 1, 1), with_dicom=False)
    whole = measure_plan(tmp_path, SNAKEFILE, ["all"], 600)
    sites = []
    for site in ("siteA", "siteB"):
        record = str(layout.fill(layout.SITE_RECORD, site=site))
        sites.append(measure_plan(tmp_path, SNAKEFILE, [record, name_sites([site])], 600).jobs)
    growth._write_results(tmp_path)
    pool = measure_plan(tmp_path, POOL, ["all"], 600)
    records, second_template = 2, 1
    assert whole.jobs == sum(sites) - records - second_template + pool.jobs
    assert pool.jobs == 5  # measurements, statistics, their export, report, and the target itself
    assert min(whole.memory, whole.cpu_seconds) > 0


def test_a_pool_never_makes_a_site_s_results(tmp_path):
    write_planned_trial(tmp_path, Size(1, 1, 1), with_dicom=False)
    with pytest.raises(RuntimeError, match="Missing input files for rule"):
        measure_plan(tmp_path, POOL, ["all"], 600)


@pytest.mark.slow
def test_ten_sites_are_planned_within_a_minute_and_one_and_a_half_gibibytes():
    ((_, cost),) = measure_trial(BAR, 3600, with_dicom=True, with_parts=False)
    assert cost.jobs > 5_000
    assert cost.cpu_seconds <= 60  # on a busy machine the wall tells of the others
    assert cost.memory <= 1.5 * 1024
