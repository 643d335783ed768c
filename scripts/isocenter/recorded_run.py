"""A run of the workflow that leaves its trace in the audit trail: an entry, and the manifest of what it wrote."""

from collections.abc import Callable, Sequence
from pathlib import Path

from isocenter import audit, layout
from isocenter.data_lock import check_unlocked
from isocenter.decisions import delete_withdrawn
from isocenter.holder import hold_trial
from isocenter.manifest import read_manifest, read_snapshot, take_snapshot, update_manifest, write_snapshot
from isocenter.mend import clear_damaged, find_damaged
from isocenter.plan import Plan
from isocenter.runner import Outcome, Progress, run_workflow
from isocenter.trial_digests import find_digests

#: Options of Snakemake with which a run writes no result.
IDLE_OPTIONS = frozenset({"-n", "--dry-run", "--dryrun", "--unlock"})


def run_recorded(
    directory: Path,
    *,
    cores: int | None = None,
    options: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    plan: Plan | None = None,
) -> Outcome:
    """Run the workflow in a trial's folder and record it, also when a job failed; a run that did nothing is no entry.

    plan : of the trial, whose folder is then the working directory: results that were cut short or taken away since the
        last record are made again

    A run that is killed or interrupted records nothing: the next one takes over what it wrote, and lifts the lock that
    its Snakemake left. HeldError when another command works on the trial, or its data are locked.
    """
    if IDLE_OPTIONS & set(options):
        return run_workflow(directory, cores=cores, options=options, on_progress=on_progress)
    check_unlocked(directory)
    with hold_trial(directory, "isocenter run") as hold:
        if hold.left_by is not None:
            run_workflow(directory, cores=1, options=["--unlock"])
        again = clear_damaged(directory, plan, find_damaged(directory)) if plan else []
        targets = ["all", *again] if again else []
        outcome = _run_recorded(directory, cores, [*targets, *options], on_progress, hold.descriptor)
        outcome.mended = again
        return outcome


def _run_recorded(
    directory: Path, cores: int | None, options: Sequence[str], on_progress: Callable[[Progress], None], descriptor: int
) -> Outcome:
    before = read_snapshot(directory)
    is_taken_over = before is not None
    if before is None:
        before = take_snapshot(directory)
        write_snapshot(directory, before)
    outcome = run_workflow(directory, cores=cores, options=options, on_progress=on_progress, inherit=(descriptor,))
    if outcome.is_locked:  # the snapshot belongs to the run that holds the trial
        return outcome
    delete_withdrawn(directory)
    if outcome.n_jobs or outcome.failed or is_taken_over:
        record_run(directory, before, _describe(outcome))
    (directory / layout.OPEN_RUN).unlink(missing_ok=True)
    return outcome


def record_run(directory: Path, before: dict[str, tuple[int, int]], what: str) -> audit.Entry:
    """Enter what changed since `before` in the manifest, and the run in the log."""
    update_manifest(directory, before)
    return audit.append_entry(directory, "run", what, digests=find_digests(directory))


def accept_results(directory: Path, why: str, who: str = "") -> audit.Entry:
    """Take the results as they are now, on a person's word: an override that names the files that differed."""
    if not why.strip():
        raise audit.AuditError("An acceptance has no reason; what to do: say why the results are right as they are")
    old = read_manifest(directory)
    new = update_manifest(directory, {}, adopt_all=True)
    if old is None:
        what = f"first record of {len(new)} results, as they are"
    else:
        changed = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
        what = f"accepted {len(changed)} of {len(new)} results as they are: {', '.join(changed) or 'none differed'}"
    return audit.append_entry(directory, "override", what, why=why, who=who, digests=find_digests(directory))


def _describe(outcome: Outcome) -> str:
    if outcome.failed:
        return f"{outcome.n_jobs} jobs; failed: {', '.join(sorted(set(outcome.failed)))}"
    return f"{outcome.n_jobs} jobs"
