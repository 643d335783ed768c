"""Jobs in control groups of their own: what is held, what is measured, what is told."""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import large_jobs, limits
from benchmarks.control_group import ControlGroup

MB = 1_000_000
#: Holds so many MB of memory for a moment.
HOLD = "held = bytearray({size} * 10**6); held[::4096] = b'x' * len(held[::4096]); import time; time.sleep(0.3)"
WORKFLOW = """
NAMES = ["modest", "greedy"]
rule all:
    input: expand("{{name}}.txt", name=NAMES)
rule hold:
    output: "{{name}}.txt"
    resources: mem_mb=700
    params: code=lambda wildcards: {code!r}.format(size=100 if wildcards.name == "modest" else 900)
    shell: "{python} -c {{params.code:q}} && touch {{output}}"
"""


@pytest.fixture(scope="module", autouse=True)
def can_limit():
    try:
        ControlGroup(f"isocenter-test-{os.getpid()}", limit=100 * MB).__exit__()
    except OSError as error:
        pytest.skip(f"this machine lets no test limit the memory of a process: {error}")


def hold(size, limit):
    with ControlGroup(f"isocenter-test-{os.getpid()}", limit=limit * MB) as group:
        process = group.start(f'exec {sys.executable} -c "{HOLD.format(size=size)}"')
        return process, group.watch(process)


def test_a_group_says_what_its_processes_took():
    process, use = hold(size=200, limit=400)
    assert process.returncode == 0
    assert use["killed"] == 0
    assert 200 <= use["peak"] < 230
    assert use["seconds"] >= 0.3


def test_a_process_that_wants_more_than_its_group_may_have_is_ended():
    process, use = hold(size=200, limit=100)
    assert process.returncode == -9
    assert use["killed"] == 1
    assert use["peak"] <= 100


def test_a_job_that_takes_more_than_it_declares_is_ended_and_told_and_others_are_not(tmp_path, monkeypatch):
    (tmp_path / "Snakefile").write_text(WORKFLOW.format(code=HOLD, python=sys.executable))
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONPATH", limits.VARIABLE):  # the run sets them; put back afterwards
        monkeypatch.setenv(name, os.environ.get(name, ""))
    assert limits.run_within_limits(tmp_path, ["all"], tmp_path / "Snakefile") != 0
    records = [json.loads(line) for line in (tmp_path / limits.RECORDS).read_text().splitlines()]
    modest, greedy = sorted(records, key=lambda record: record["killed"])
    assert (modest["killed"], modest["status"], modest["declared"]) == (0, 0, 700)
    assert 100 < modest["peak"] < 600, "the two Snakemakes above the step are in the group, too"
    assert greedy["killed"] == 1
    assert greedy["status"] != 0
    assert (tmp_path / "modest.txt").exists()
    assert not (tmp_path / "greedy.txt").exists()
    assert "| `hold` | 2 |" in limits.tabulate(tmp_path)


def test_groups_are_those_of_the_profile_for_slurm():
    options = limits.group_options()
    assert options[:3] == ["--cores", "1", "--groups"]
    assert "fit_map=images-{site}" in options
    assert options[options.index("--group-components") + 1] == "images-{site}=8"


@pytest.mark.slow
def test_steps_run_on_a_head_within_what_their_rules_declare(capsys):
    assert large_jobs.main(["--shape", "48", "48", "16"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert [row[1].strip(" `") for row in rows] == [
        "align_series", "fit_map", "fit_map", "make_template", "transfer_labels", "extract_rois"
    ]  # fmt: skip
    assert all(float(row[4].split()[0]) < float(row[5].split()[0]) for row in rows)
