"""Why jobs failed, read from what Snakemake and the jobs say; each reason is shown once, with what to do."""

import json

import pytest

from isocenter import layout
from isocenter.failure_view import show_failures
from isocenter.failures import Failures, explain_job, name_job
from isocenter.runner import read_progress
from isocenter.terminal import console
from isocenter.trouble import MAKE_ROOM
from isocenter.unsettled import MARK, JobFailure, mark_unsettled, read_failure, read_unsettled

LOG = "results/logs/fit_map/siteA/sub-T01_ses-01_run-1_T1map.log"
FULL = f"DiskError: The disk is full; where: a.nii.gz; found: No space left; what to do: {MAKE_ROOM}"
SAID = MARK + json.dumps(
    {"rule": "fit_map", "about": {"site": "siteA", "participant": "T01", "map": "T1map"}, "log": LOG, "reason": FULL}
)
#: As Snakemake 9 writes it.
BLOCK = f"""
Job 12: fit T1map of siteA T01 01 run 1
[Thu Nov 26 18:31:05 2026]
Error in rule fit_map:
    message: None
    jobid: 12
    input: a.nii.gz, b.nii.gz
    output: c.nii.gz
    log: {LOG} (check log file(s) for error details)
""".splitlines()


def read(*lines):
    failures = Failures()
    for line in lines:
        failures.read_line(line)
    return failures.list_all()


def test_what_the_job_says_and_what_snakemake_says_meet():
    (failure,) = read("5 of 9 steps (56%) done", SAID, *BLOCK, "", "Exiting because a job execution failed.")
    assert (failure.rule, failure.log, failure.reason) == ("fit_map", LOG, FULL)
    assert failure.about["message"] == "fit T1map of siteA T01 01 run 1"


def test_a_job_that_succeeds_at_the_second_try_did_not_fail():
    assert read(*BLOCK, "Trying to restart job 12.", "Finished jobid: 12 (Rule: fit_map)") == []
    assert len(read(*BLOCK, "Finished jobid: 13 (Rule: fit_map)")) == 1


#: A group that failed on a node: the run there tells of the same job first, under a number of its own.
GROUP = f"""
    message: Error in group images-siteA
    log: .snakemake/slurm_logs/group_images-siteA/7.log (check log file(s) for error details)
    jobs:
        rule transfer_labels:
            jobid: 93
            output: results/labels
            log: results/logs/transfer_labels/siteA.log (check log file(s) for error details)
        rule fit_map:
            jobid: 91
            output: c.nii.gz
            log: {LOG} (check log file(s) for error details)
Logfile .snakemake/slurm_logs/group_images-siteA/7.log:
================================================================================
Error in rule fit_map:
    message: None
    jobid: 4
    output: c.nii.gz
    log: {LOG} (check log file(s) for error details)
srun: forcing job termination
Trying to restart job ec401bde-e94c-53cf-8bcc-f67fb2b29740.
""".splitlines()


def test_a_job_of_a_group_that_succeeds_at_the_second_try_did_not_fail():
    assert [failure.log for failure in read(*GROUP)] == [LOG]
    assert read(*GROUP, "Finished jobid: 93 (Rule: transfer_labels)", "Finished jobid: 91 (Rule: fit_map)") == []
    assert [failure.log for failure in read(*GROUP, "Finished jobid: 93 (Rule: transfer_labels)")] == [LOG]


def test_a_job_that_says_nothing_is_looked_up_in_its_log(tmp_path):
    (failure,) = read(*BLOCK, "")
    assert name_job(failure) == "fit T1map of siteA T01 01 run 1"
    assert explain_job(failure, tmp_path)[0] == "The job was killed, or ended without a word"
    (tmp_path / LOG).parent.mkdir(parents=True)
    (tmp_path / LOG).write_text("INFO 3 volumes\nERROR SidecarError: no EchoTime; what to do: send it again\n")
    assert explain_job(failure, tmp_path) == ("SidecarError: no EchoTime", "Send it again")


@pytest.mark.parametrize(
    "first", ["", 'concurrent.futures.process._RemoteTraceback: \n"""\n'], ids=["own", "of a worker"]
)
def test_an_unexpected_end_gives_its_last_line_and_where_to_look(first):
    failure = JobFailure(
        "fit_map", {"site": "siteA"}, LOG, f"{first}Traceback (most recent call last):\n  x\nValueError: shape"
    )
    reason, remedy = explain_job(failure, None)
    assert reason == "The step failed unexpectedly: ValueError: shape"
    assert "report it" in remedy


@pytest.mark.parametrize("line", [MARK + "{", MARK + '{"rule": "a", "odd": 1}', "nothing of the kind", ""])
def test_words_that_are_mixed_up_are_no_report(line):
    assert read_failure(line) is None


def test_a_job_that_could_not_even_start_has_snakemakes_reason(tmp_path):
    """On a full disk Snakemake cannot write what it wants to run."""
    raised = [
        "RuleException:",
        'OSError in file "workflow/rules/map.smk", line 61:',
        "[Errno 28] No space left on device",
    ]
    (failure,) = read(*BLOCK[:2], *raised, *BLOCK[2:], "")
    reason, remedy = explain_job(failure, tmp_path)
    assert reason == "The disk is full; found: [Errno 28] No space left on device"
    assert remedy.startswith("Make room on the disk")
    called = 'CalledProcessError in file "workflow/rules/map.smk", line 61:'  # the job's own end, of which it tells
    assert read(called, "Command 'python x' returned non-zero exit status 1.", *BLOCK, "")[0].reason == ""


def test_a_job_is_told_of_once_snakemake_has_named_it():
    assert read(*BLOCK[:-1]) == []


def test_failures_of_one_reason_are_shown_together(tmp_path):
    failures = [
        JobFailure("fit_map", {"site": "siteA", "participant": f"T{n:02d}"}, LOG, FULL.replace("a.nii", f"{n}.nii"))
        for n in range(9)
    ]
    failures.append(JobFailure("fit_map", {"message": "fit T2map"}, LOG, "OSError: [Errno 28] No space left on device"))
    with console.capture() as shown:
        show_failures(failures, tmp_path)
    text = shown.get()
    assert text.count("The disk is full") == 1
    assert "fit_map siteA T00, fit_map siteA T01" in text
    assert "and 6 more" in text
    assert "→ Make room on the disk" in text
    assert "\x1b" not in text


def test_the_state_of_a_run_is_read_from_its_log(tmp_path):
    assert read_progress(tmp_path) == (0, 0, [])
    path = tmp_path / layout.RUN_LOG
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(["3 of 9 steps (33%) done", SAID, *BLOCK, "4 of 9 steps (44%) done", ""]))
    done, total, failures = read_progress(tmp_path)
    assert (done, total, [failure.reason for failure in failures]) == (4, 9, [FULL])


def test_a_mark_stays_until_the_job_is_settled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mark_unsettled(["a.nii.gz", "b.nii.gz"], [])
    assert read_unsettled(tmp_path) == {}
    mark_unsettled(["a.nii.gz", "b.nii.gz"], ["no memory"])
    mark_unsettled(["c.tsv"], ["the folder went away"])
    assert sorted(read_unsettled(tmp_path).values()) == [["a.nii.gz", "b.nii.gz"], ["c.tsv"]]
    mark_unsettled(["a.nii.gz", "b.nii.gz"], [])
    assert list(read_unsettled(tmp_path).values()) == [["c.tsv"]]


def test_a_scan_of_many_series_is_named_once():
    """Inversion recovery may come as eight series of one run: eight rows, and one thing to look at."""
    from isocenter.failure_view import name_some

    told = name_some(["siteA T01 01 2"] * 8 + ["siteB T02 01 1"])
    assert told == "siteA T01 01 2 (×8), siteB T02 01 1"
    assert name_some([f"siteA T0{n}" for n in (1, 1, 2, 3, 4, 5, 6)]).endswith("siteA T04 and 2 more")
