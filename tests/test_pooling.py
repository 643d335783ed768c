"""Sites that were run apart are pooled only when they belong together and are as their runs wrote them."""

import json
import os

import pytest

from isocenter import audit, layout, pooling, trial_digests
from isocenter.errors import AuditError, ConfigError
from isocenter.io.nifti import write_json
from isocenter.manifest import take_snapshot
from isocenter.mend import find_damaged
from isocenter.origins import check_run_here, list_origins, name_trail
from isocenter.recorded_run import record_run
from isocenter.settings import find_sites, load_settings
from isocenter.trial_digests import site_digests, withhold_identifiers
from isocenter.verify_command import verify

CONFIG = "trial: x\nbiomarkers: [T1]\nfiles: {protocol: config/protocol.yaml}\nsites: [siteA, siteB]\n"
PEOPLE = "participant_id\tkind\tsource_id\nT01\ttraveler\tMRN-4711\n"


def write_folder(root, **texts):
    """A folder with the trial's config, and files by their path."""
    for path, text in {layout.CONFIG: CONFIG, **texts}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def run_site(root, site, rois="value\n1\n"):
    """What a run of one site leaves, with tables in place of all results."""
    before = take_snapshot(root)
    folder = layout.fill(layout.SITE, site=site)
    write_folder(root, **{
        str(layout.fill(layout.SITE_YAML, site=site)): f"site: {site}\n",
        str(layout.fill(layout.PARTICIPANTS, site=site)): PEOPLE,
        str(folder / "intake" / "scans.tsv"): "series_uid\n1\n",
        str(folder / "derivatives" / "rois.tsv"): rois,
        f"{layout.TEMPLATE}/brain.txt": "template\n",
    })  # fmt: skip
    (root / folder / "derivatives" / "empty").mkdir(exist_ok=True)
    record = {"site": site, "digests": site_digests(root, site)}
    write_json(root / layout.fill(layout.SITE_RECORD, site=site), record)
    record_run(root, before, f"4 jobs of {site}")
    return root


@pytest.fixture
def origin(tmp_path):
    return run_site(tmp_path / "a", "siteA")


@pytest.fixture
def here(tmp_path):
    return write_folder(tmp_path / "pool")


def take_in(here, *folders):
    before = take_snapshot(here)
    number = pooling.take_in(here, pooling.find_origins(here, folders))
    record_run(here, before, "pooled")
    return number


def roi_table(root, site="siteA"):
    return root / layout.fill(layout.SITE, site=site) / "derivatives" / "rois.tsv"


def test_results_come_whole_with_their_trail_and_without_identifiers(origin, here, tmp_path):
    assert take_in(here, origin, run_site(tmp_path / "b", "siteB")) == 2
    assert list_origins(here) == ["siteA", "siteB"]
    assert roi_table(here).read_bytes() == roi_table(origin).read_bytes()
    assert (roi_table(here).parent / "empty").is_dir()
    assert (here / layout.TEMPLATE / "brain.txt").is_file()
    people = (here / layout.fill(layout.PARTICIPANTS, site="siteA")).read_text()
    assert "MRN-4711" not in people
    assert people.splitlines()[1] == "T01\ttraveler\twithheld-T01"
    assert verify(here).findings == []
    entries = audit.read_log(here)
    assert [(entry.kind, entry.what) for entry in entries] == [
        ("pool", "took in siteA: 3 results"), ("pool", "took in siteB: 3 results"), ("run", "pooled"),
    ]  # fmt: skip
    assert name_trail(here, "siteA")["log"].read_bytes() == (origin / layout.AUDIT_LOG).read_bytes()


def test_a_trail_that_is_changed_later_shows(origin, here):
    take_in(here, origin)
    trail = name_trail(here, "siteA")
    trail["manifest"].write_text("path\tsize\tsha256\n")
    trail["log"].unlink()
    assert {(finding.path.rpartition("/")[2], finding.what) for finding in verify(here).findings} == {
        ("manifest.tsv", "changed"), ("log.jsonl", "missing"),
    }  # fmt: skip


def test_only_what_has_changed_is_taken_in_again_and_is_newer_than_tables(origin, here):
    take_in(here, origin)
    table, scans = roi_table(here), here / layout.fill(layout.SCANS, site="siteA")
    assert take_in(here, origin) == 0
    pooled_at = table.stat().st_mtime_ns
    scanned_at = scans.stat().st_mtime_ns
    run_site(origin, "siteA", rois="value\n2\n")
    os.utime(roi_table(origin), ns=(1, 1))  # older than everything here: a clock that is wrong, or a late transfer
    record_run(origin, take_snapshot(origin), "again")
    assert take_in(here, origin) == 1
    assert table.read_text() == "value\n2\n"
    assert table.stat().st_mtime_ns > pooled_at
    assert scans.stat().st_mtime_ns == scanned_at
    assert verify(here).findings == []


def test_a_result_that_is_gone_at_the_site_goes_here_too(origin, here):
    more = roi_table(origin).with_name("more.tsv")
    before = take_snapshot(origin)
    more.write_text("x\n")
    record_run(origin, before, "1 job")
    take_in(here, origin)
    before = take_snapshot(origin)
    more.unlink()
    record_run(origin, before, "1 job")
    take_in(here, origin)
    assert not roi_table(here).with_name("more.tsv").exists()
    assert verify(here).findings == []


def test_what_was_lost_here_is_brought_again(origin, here):
    take_in(here, origin)
    roi_table(here).unlink()
    assert find_damaged(here, ["siteA"]) == [str(roi_table(here).relative_to(here))]
    assert find_damaged(here, ["siteB"]) == []
    assert take_in(here, origin) == 1
    assert verify(here).findings == []


@pytest.mark.parametrize("change", ["config", "code", "environment"])
def test_sites_that_were_made_with_something_else_are_refused(origin, here, change, monkeypatch):
    if change == "config":
        (here / layout.CONFIG).write_text(CONFIG.replace("trial: x", "trial: y"))
    elif change == "code":
        monkeypatch.setattr(trial_digests, "code_tree_digest", lambda: "0" * 64)
    else:
        monkeypatch.setattr(trial_digests, "environment_digest", lambda: "0" * 64)
    with pytest.raises(ConfigError, match=rf"siteA was run with another .*expected: {change}.*found: {change}.*pool"):
        pooling.find_origins(here, [origin])
    assert not (here / layout.RESULTS).exists()


def test_a_site_whose_files_changed_since_its_run_is_refused_but_not_for_identifiers(origin, here):
    people = origin / layout.fill(layout.PARTICIPANTS, site="siteA")
    people.write_bytes(withhold_identifiers(people))
    assert len(pooling.find_origins(here, [origin])) == 1
    people.write_text(people.read_text().replace("traveler", "patient"))
    with pytest.raises(ConfigError, match="What people wrote for siteA has changed since its run"):
        pooling.find_origins(here, [origin])


@pytest.mark.parametrize("harm", ["edit", "cut", "remove", "add"])
def test_results_that_are_not_as_the_run_wrote_them_are_refused(origin, here, harm):
    table = roi_table(origin)
    if harm == "edit":
        table.write_text("value\n9\n")
    elif harm == "cut":
        os.truncate(table, 3)
    elif harm == "remove":
        table.unlink()
    else:
        table.with_name("other.tsv").write_text("x\n")
    with pytest.raises(AuditError, match=r"Results of siteA are not as its run wrote them.*(rois|other)\.tsv: "):
        pooling.find_origins(here, [origin])


def test_an_audit_trail_that_does_not_hold_is_refused(origin, here):
    log = origin / layout.AUDIT_LOG
    log.write_text(log.read_text().replace("4 jobs", "5 jobs"))
    with pytest.raises(AuditError, match="audit trail of a site's folder does not hold"):
        pooling.find_origins(here, [origin])


def test_a_manifest_that_was_written_anew_is_refused(origin, here):
    roi_table(origin).write_text("value\n9\n")
    from isocenter.manifest import update_manifest

    update_manifest(origin, {}, adopt_all=True)
    with pytest.raises(AuditError, match=r"does not hold: .*manifest\.tsv: changed"):
        pooling.find_origins(here, [origin])


def test_folders_that_hold_no_finished_site_are_refused(origin, here, tmp_path):
    with pytest.raises(ConfigError, match="no folder of a site's run"):
        pooling.find_origins(here, [tmp_path])
    (origin / layout.OPEN_RUN).write_text("{}")
    with pytest.raises(AuditError, match="A run goes on in this folder, or one was killed"):
        pooling.find_origins(here, [origin])
    (origin / layout.OPEN_RUN).unlink()
    before = take_snapshot(origin)
    (origin / layout.fill(layout.SITE_RECORD, site="siteA")).unlink()
    record_run(origin, before, "1 job")
    with pytest.raises(ConfigError, match=r"No site was run to its end.*run --site"):
        pooling.find_origins(here, [origin])
    (origin / layout.AUDIT_LOG).unlink()
    with pytest.raises(AuditError, match="no audit trail"):
        pooling.find_origins(here, [origin])


def test_one_site_has_one_origin(origin, here, tmp_path):
    with pytest.raises(ConfigError, match="Two folders hold the site siteA"):
        pooling.find_origins(here, [origin, run_site(tmp_path / "b", "siteA")])
    run_site(here, "siteA")
    with pytest.raises(ConfigError, match="has results here that were not taken in"):
        pooling.find_origins(here, [origin])


def test_a_site_that_the_trial_does_not_list_is_refused(here, tmp_path):
    with pytest.raises(ConfigError, match=r"siteC is none of this trial.*expected: siteA, siteB"):
        pooling.find_origins(here, [run_site(tmp_path / "c", "siteC")])


def test_a_pool_is_no_origin(origin, here, tmp_path):
    take_in(here, origin)
    with pytest.raises(ConfigError, match="were run elsewhere and taken in"):
        pooling.find_origins(write_folder(tmp_path / "other"), [here])


def test_another_template_is_refused(origin, here, tmp_path):
    other = run_site(tmp_path / "b", "siteB")
    before = take_snapshot(other)
    (other / layout.TEMPLATE / "brain.txt").write_text("another\n")
    record_run(other, before, "1 job")
    with pytest.raises(ConfigError, match="template of siteB is another"):
        pooling.find_origins(here, [origin, other])


def test_decisions_made_here_are_not_lost_under_what_comes(origin, here):
    take_in(here, origin)
    left_out = here / layout.fill(layout.LEFT_OUT, site="siteA")
    left_out.write_text("participant_id\treason\nT01\tmoved\n")
    assert take_in(here, origin) == 0  # nothing new comes, so nothing is in danger
    run_site(origin, "siteA", rois="value\n2\n")
    with pytest.raises(ConfigError, match=r"siteA is another here than where it was run.*exclude"):
        take_in(here, origin)
    assert left_out.is_file()
    assert roi_table(here).read_text() == "value\n1\n"
    (origin / layout.fill(layout.LEFT_OUT, site="siteA")).write_bytes(left_out.read_bytes())  # decided there, too
    run_site(origin, "siteA", rois="value\n2\n")
    assert take_in(here, origin) == 1
    assert roi_table(here).read_text() == "value\n2\n"


def test_a_site_that_was_taken_in_is_not_run_here(origin, here):
    take_in(here, origin)
    check_run_here(here, ["siteB"])
    with pytest.raises(ConfigError, match=r"siteA was run elsewhere.*isocenter run --site siteB"):
        check_run_here(here, ["siteA", "siteB"])
    assert json.loads((here / layout.fill(layout.SITE_RECORD, site="siteA")).read_text())["site"] == "siteA"


def test_only_the_named_sites_are_read(tmp_path):
    for site in ("siteA", "siteB", "_template"):
        write_folder(tmp_path, **{str(layout.fill(layout.SITE_YAML, site=site)): "not: [valid"})
    assert find_sites(tmp_path, None, ["siteB"]) == ["siteB"]
    assert find_sites(tmp_path, None, ["siteB", "siteA"]) == ["siteA", "siteB"]
    assert find_sites(tmp_path, ["siteB", "gone"], ["siteB"]) == ["siteB"]
    for chosen, only in ((None, ["siteX"]), (["siteB"], ["siteA"])):
        with pytest.raises(ConfigError, match=rf"{only[0]}.* is none of this trial.*expected: one of"):
            find_sites(tmp_path, chosen, only)


def test_a_mistake_at_one_site_does_not_stop_another(tmp_path):
    import shutil
    from pathlib import Path

    repository = Path(__file__).resolve().parents[1]
    shutil.copytree(repository / "config", tmp_path / "config")
    shutil.copytree(repository / "sites" / "siteA", tmp_path / "sites" / "siteA", ignore=lambda *_: ["dicom"])
    write_folder(tmp_path / "x")
    bad = tmp_path / layout.fill(layout.SITE_YAML, site="siteB")
    bad.parent.mkdir()
    bad.write_text("site: siteX\n")
    with pytest.raises(ConfigError, match="siteB"):
        load_settings(tmp_path)
    assert load_settings(tmp_path, only=["siteA"]).sites == ["siteA"]
