"""Whatever somebody did to the results since the last run is found and named."""

import json
import os

import pytest
from typer.testing import CliRunner

from isocenter import audit, layout, recorded_run
from isocenter.cli import app
from isocenter.errors import AuditError
from isocenter.manifest import read_manifest, take_snapshot, update_manifest
from isocenter.runner import Outcome
from isocenter.unsettled import JobFailure
from isocenter.verify_command import verify

TABLE = "results/trial/measurements.tsv"
MAP = "results/sites/siteA/derivatives/isocenter/sub-T01/sub-T01_T1map.nii.gz"
FILES = {
    TABLE: "value\n1.1\n",
    MAP: "a map",
    "results/sites/siteA/derivatives/isocenter/sub-T01/sub-T01_T1map.json": "{}",
    "results/report/index.html": "<p>1.1</p>",
    "results/logs/run.log": "not a result",
    "results/sites/siteA/labels/.snakemake_timestamp": "",
}


def put(trial, files) -> None:
    for name, content in files.items():
        (trial / name).parent.mkdir(parents=True, exist_ok=True)
        (trial / name).write_text(content)


@pytest.fixture
def trial(tmp_path):
    """A small tree of results, recorded once."""
    put(tmp_path, FILES)
    recorded_run.record_run(tmp_path, {}, "4 jobs")
    return tmp_path


def found(trial) -> list[tuple[str, str]]:
    return [(finding.path, finding.what) for finding in verify(trial).findings]


def test_untouched_results_hold(trial):
    seen = verify(trial)
    assert (seen.n_files, seen.n_entries, seen.findings) == (4, 1, [])
    assert set(read_manifest(trial)) == set(FILES) - {
        "results/logs/run.log",
        "results/sites/siteA/labels/.snakemake_timestamp",
    }


def test_a_table_edited_by_hand_is_named_with_both_hashes(trial):
    status = (trial / TABLE).stat()
    (trial / TABLE).write_text("value\n1.2\n")  # the same size, and the old time put back
    os.utime(trial / TABLE, ns=(status.st_atime_ns, status.st_mtime_ns))
    (finding,) = verify(trial).findings
    assert (finding.path, finding.what) == (TABLE, "changed")
    assert read_manifest(trial)[TABLE].sha256 in finding.expected
    assert finding.found.startswith("10 bytes, ")
    assert finding.expected != finding.found


def test_a_deleted_map_is_named(trial):
    (trial / MAP).unlink()
    assert found(trial) == [(MAP, "missing")]


def test_an_extra_file_is_named(trial):
    put(trial, {"results/trial/measurements_better.tsv": "value\n9\n"})
    assert found(trial) == [("results/trial/measurements_better.tsv", "extra")]


@pytest.mark.parametrize("target", ["copy", "nowhere", "."])
def test_a_link_in_place_of_a_result_is_named_whatever_it_leads_to(trial, target):
    (trial / "copy").write_bytes((trial / TABLE).read_bytes())
    (trial / TABLE).unlink()
    (trial / TABLE).symlink_to((trial / target).resolve())
    (finding,) = verify(trial).findings
    assert (finding.path, finding.what) == (TABLE, "changed")
    assert "a link, pipe or device in its place" in finding.found


def test_a_pipe_in_place_of_a_result_is_named_and_not_waited_for(trial):
    (trial / TABLE).unlink()
    os.mkfifo(trial / TABLE)
    assert found(trial) == [(TABLE, "changed")]


def test_links_and_names_of_any_bytes_are_extra(trial):
    (trial / "results/elsewhere").symlink_to(trial)
    (trial / "results/nowhere").symlink_to("/nowhere")
    with open(os.fsencode(trial / "results") + b"/caf\xe9\nx", "wb"):
        pass
    assert [what for _, what in found(trial)] == ["extra"] * 3
    result = CliRunner().invoke(app, ["verify", "-d", str(trial)])
    assert result.exit_code == 1, result.exception
    for name in ("elsewhere", "nowhere"):
        (trial / "results" / name).unlink()
    result = CliRunner().invoke(app, ["verify", "-d", str(trial), "--accept", "a test"])
    assert result.exit_code == 0, result.exception


def test_a_run_adopts_no_link(trial, monkeypatch):
    (trial / "results/trial/link.tsv").symlink_to(trial / TABLE)
    recorded_run.record_run(trial, {}, "1 jobs")
    assert found(trial) == [("results/trial/link.tsv", "extra")]


def test_an_edited_manifest_is_named(trial):
    (trial / TABLE).write_text("value\n1.2\n")
    update_manifest(trial, {}, adopt_all=True)  # whoever hides a change behind a fitting manifest
    assert found(trial) == [(layout.MANIFEST, "changed")]


def test_a_missing_manifest_is_named_before_all_its_files(trial):
    (trial / layout.MANIFEST).unlink()
    assert found(trial)[0] == (layout.MANIFEST, "missing")


def test_an_edited_line_of_the_log_is_named(trial):
    audit.append_entry(trial, "exclusion", "sub-T01", why="moved")
    log = trial / layout.AUDIT_LOG
    log.write_text(log.read_text().replace("4 jobs", "5 jobs"))
    assert found(trial) == [(f"{layout.AUDIT_LOG}, line 1", "was edited")]


def test_a_removed_line_of_the_log_is_named(trial):
    for name in ("sub-T01", "sub-T02"):
        audit.append_entry(trial, "exclusion", name, why="moved")
    log = trial / layout.AUDIT_LOG
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:1] + lines[2:]))
    assert found(trial) == [(f"{layout.AUDIT_LOG}, line 2", "has a line missing before it")]


def test_a_removed_log_is_named(trial):
    (trial / layout.AUDIT_LOG).unlink()
    assert found(trial)[0] == (layout.AUDIT_LOG, "missing")


def test_without_a_trail_the_error_says_what_to_do(tmp_path):
    put(tmp_path, FILES)
    with pytest.raises(AuditError, match="--accept"):
        verify(tmp_path)


# What a run takes over, and what not -----------------------------------------------------------------
def run_with(trial, monkeypatch, work, **ended) -> Outcome:
    """`run_recorded`, with `work` in the place of Snakemake."""

    def workflow(directory, **_):
        work()
        return Outcome(returncode=0, seconds=0.0, **ended)

    monkeypatch.setattr(recorded_run, "run_workflow", workflow)
    return recorded_run.run_recorded(trial, cores=1)


def test_a_run_takes_over_what_it_wrote(trial, monkeypatch):
    def work():
        (trial / TABLE).write_text("value\n1.1\n2.2\n")
        put(trial, {"results/trial/new.tsv": "x\n"})
        (trial / MAP).unlink()

    run_with(trial, monkeypatch, work, n_jobs=3)
    assert found(trial) == []
    assert [entry.what for entry in audit.read_log(trial)] == ["4 jobs", "3 jobs"]


def test_a_run_does_not_launder_what_changed_before_it(trial, monkeypatch):
    (trial / TABLE).write_text("value\n9.9\n")
    (trial / MAP).unlink()
    put(trial, {"results/trial/extra.tsv": "x\n"})
    run_with(trial, monkeypatch, lambda: put(trial, {"results/trial/new.tsv": "x\n"}), n_jobs=1)
    assert found(trial) == [("results/trial/extra.tsv", "extra"), (MAP, "missing"), (TABLE, "changed")]


def test_a_run_that_makes_a_deleted_map_again_mends_it(trial, monkeypatch):
    (trial / MAP).unlink()
    run_with(trial, monkeypatch, lambda: put(trial, {MAP: "a map"}), n_jobs=1)
    assert found(trial) == []


def test_nothing_to_do_is_no_entry(trial, monkeypatch):
    before = (trial / layout.AUDIT_LOG).read_bytes()
    run_with(trial, monkeypatch, lambda: None, nothing_to_do=True)
    assert (trial / layout.AUDIT_LOG).read_bytes() == before
    assert not (trial / layout.OPEN_RUN).exists()


def test_a_failed_run_is_an_entry_that_says_so(trial, monkeypatch):
    run_with(
        trial,
        monkeypatch,
        lambda: put(trial, {"results/trial/half.tsv": "x\n"}),
        n_jobs=1,
        failures=[JobFailure("fit_map")],
    )
    assert audit.read_log(trial)[-1].what == "1 jobs; failed: fit_map"
    assert found(trial) == []


def test_what_a_killed_run_wrote_is_recorded_by_the_next(trial, monkeypatch):
    def work():
        put(trial, {"results/trial/new.tsv": "x\n"})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_with(trial, monkeypatch, work)
    assert verify(trial).is_open
    run_with(trial, monkeypatch, lambda: None, nothing_to_do=True)
    assert found(trial) == []
    assert not verify(trial).is_open


def test_a_run_that_finds_the_trial_locked_leaves_the_other_ones_snapshot(trial, monkeypatch):
    (trial / layout.OPEN_RUN).write_text(json.dumps(take_snapshot(trial)))
    run_with(trial, monkeypatch, lambda: None, is_locked=True)
    assert (trial / layout.OPEN_RUN).exists()


def test_the_manifest_depends_on_the_results_alone(trial, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    put(other, FILES)
    recorded_run.record_run(other, {}, "at another time")
    assert (other / layout.MANIFEST).read_bytes() == (trial / layout.MANIFEST).read_bytes()


# The command -------------------------------------------------------------------------------------------
def call(trial, *arguments):
    return CliRunner().invoke(app, ["verify", "-d", str(trial), *arguments])


def test_the_command_exits_0_with_counts(trial):
    ended = call(trial)
    assert ended.exit_code == 0
    assert "4 results, 1 entries of the log, 0 findings" in ended.output
    assert call(trial, "--head", audit.read_head(trial)).exit_code == 0


def test_the_command_exits_1_and_names_the_file(trial):
    (trial / TABLE).write_text("value\n1.2\n")
    ended = call(trial)
    assert ended.exit_code == 1
    assert f"{TABLE}: changed; expected: 10 bytes" in ended.output


def test_a_head_that_is_not_in_the_log_is_exit_1(trial):
    ended = call(trial, "--head", "0" * 64)
    assert ended.exit_code == 1
    assert "does not hold the noted head" in ended.output


def test_accepting_is_an_override_with_a_reason(trial):
    (trial / TABLE).write_text("value\n1.2\n")
    ended = call(trial, "--accept", "A typing error was mended", "--by", "A. Turing")
    assert ended.exit_code == 0, ended.output
    entry = audit.read_log(trial)[-1]
    assert (entry.kind, entry.who, entry.why) == ("override", "A. Turing", "A typing error was mended")
    assert TABLE in entry.what


def test_accepting_without_a_reason_is_refused(trial):
    (trial / TABLE).write_text("value\n1.2\n")
    assert "no reason" in str(call(trial, "--accept", " ").exception)
    assert found(trial) == [(TABLE, "changed")]


def test_results_of_an_earlier_version_can_be_recorded_first(tmp_path):
    put(tmp_path, FILES)
    assert call(tmp_path, "--accept", "Made before there was a trail").exit_code == 0
    assert audit.read_log(tmp_path)[0].what == "first record of 4 results, as they are"
