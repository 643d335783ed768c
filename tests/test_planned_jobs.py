"""What a dry run says is read from Snakemake's own words, as version 9.27 writes them."""

from isocenter.planned_jobs import PlannedJobs

SAID = """\
Building DAG of jobs...
Job stats:
job                count
---------------  -------
fit_map                9
total                  9

Job 9: calibrate T2 at siteA
Reason: Input files updated by another job: results/sites/siteA/intake/scans.tsv
Job stats:
job                count
---------------  -------
fit_map                2
fit_calibration        4
all                    1
total                  7

Reasons:
    (check individual jobs above for details)
    code has changed since last execution:
        fit_map
    input files updated by another job:
        all, fit_calibration, fit_map
Some jobs were triggered by provenance information, see 'reason' section in the rule displays above.
fit_map 12
"""


def test_jobs_are_counted_by_rule_with_reasons():
    planned = PlannedJobs()
    for line in SAID.splitlines():
        planned.read_line(line)
    assert planned.counts == {"fit_map": 2, "fit_calibration": 4}
    assert list(planned.counts) == ["fit_map", "fit_calibration"]
    assert len(planned) == 6
    updated = "input files updated by another job"
    assert planned.reasons["fit_map"] == ["code has changed since last execution", updated]
    assert planned.reasons["fit_calibration"] == [updated]


def test_a_run_without_work_plans_nothing():
    planned = PlannedJobs()
    planned.read_line("Nothing to be done (all requested files are present and up to date).")
    assert len(planned) == 0
