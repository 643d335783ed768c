"""A run of the workflow that leaves its trace in the audit trail: an entry, and the manifest of what it wrote."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from isocenter import audit, layout
from isocenter.clock import note_seen, settle_times
from isocenter.data_lock import check_unlocked
from isocenter.decisions import delete_withdrawn
from isocenter.errors import AuditError, DiskError, IsocenterError
from isocenter.holder import hold_trial
from isocenter.manifest import read_manifest, read_snapshot, take_snapshot, update_manifest, write_snapshot
from isocenter.mend import clear_damaged, clear_unsettled, find_damaged, find_unconverted, sweep_partials
from isocenter.origins import check_run_here
from isocenter.plan import Plan
from isocenter.planned_jobs import DRY_OPTIONS
from isocenter.runner import POOL, Outcome, Progress, run_workflow
from isocenter.trial_digests import find_digests
from isocenter.writable import check_writable

#: Options of Snakemake with which a run writes no result.
IDLE_OPTIONS = DRY_OPTIONS | {"--unlock"}


def run_recorded(
    directory: Path,
    *,
    cores: int | None = None,
    options: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    plan: Plan | None = None,
    sites: Sequence[str] = (),
) -> Outcome:
    """Run the workflow in a trial's folder and record it, also when a job failed; a run that did nothing is no entry.

    plan : of the trial, whose folder is then the working directory: results that were cut short or taken away since the
        last record are made again
    sites : run only what belongs to these sites, as far as the plan goes without the others; `plan` is then of them

    A run that is killed or interrupted records nothing: the next one takes over what it wrote, and lifts the lock that
    its Snakemake left. HeldError when another command works on the trial, or its data are locked.
    """
    if sites:
        options = [*options, name_sites(sites)]
    targets = [str(layout.fill(layout.SITE_RECORD, site=site)) for site in sites]
    run = partial(run_workflow, directory, cores=cores, on_progress=on_progress)
    if plan and DRY_OPTIONS & set(options):
        again = clear_damaged(directory, plan, _find_missing(directory, plan, sites), is_dry=True)
        retried = clear_unsettled(directory, plan, sites, is_dry=True)
        if more := list(dict.fromkeys([*again, *retried])):
            targets = [*(targets or ["all"]), *more]
            options = [*options, "--forcerun", *more]  # a run would have deleted them
        outcome = run(options=[*targets, *options])
        outcome.mended, outcome.retried = again, retried
        return outcome
    if IDLE_OPTIONS & set(options):
        return run(options=[*targets, *options])
    check_unlocked(directory)
    check_run_here(directory, plan.sites if plan else sites)
    with hold_trial(directory, "isocenter run") as hold:
        check_writable(directory)
        if hold.left_by is not None:
            run_workflow(directory, cores=1, options=["--unlock"])
        sweep_partials(directory)
        settled = settle_times(directory)
        again = clear_damaged(directory, plan, _find_missing(directory, plan, sites)) if plan else []
        retried = clear_unsettled(directory, plan, sites) if plan else []
        if more := dict.fromkeys([*again, *retried]):
            targets = [*(targets or ["all"]), *more]
        outcome = _run_recorded(
            directory,
            partial(run, options=[*targets, *options], inherit=(hold.descriptor,)),
            scope=f" of {', '.join(sites)}" if sites else "",
        )
        if not outcome.returncode:
            note_seen(directory)
        outcome.mended, outcome.retried, outcome.settled = again, retried, settled
        return outcome


def _find_missing(directory: Path, plan: Plan, sites: Sequence[str]) -> list[str]:
    return [*find_damaged(directory, sites), *find_unconverted(directory, plan, sites)]


def run_pool(
    directory: Path,
    prepare: Callable[[], int],
    *,
    cores: int,
    options: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[int, Outcome]:
    """Pool the sites of a trial's folder and record it: no site's own results are made.

    prepare : called while the trial is held, before anything is pooled; what it writes counts as written by this run.
        Returns a number of its own.

    HeldError as :func:`run_recorded`; what `prepare` raises ends the run before Snakemake starts.
    """
    check_unlocked(directory)
    with hold_trial(directory, "isocenter pool") as hold:
        check_writable(directory)
        run = partial(run_workflow, directory, snakefile=POOL)
        if hold.left_by is not None:
            run(cores=1, options=["--unlock"])
        is_begun = read_snapshot(directory) is None
        if is_begun:
            write_snapshot(directory, take_snapshot(directory))
        try:
            number = prepare()
        except IsocenterError:
            if is_begun and read_snapshot(directory) == take_snapshot(directory):  # refused before it wrote anything
                (directory / layout.OPEN_RUN).unlink()
            raise
        outcome = _run_recorded(
            directory,
            partial(run, cores=cores, options=options, on_progress=on_progress, inherit=(hold.descriptor,)),
            scope=" of the pool",
            is_begun=is_begun and not number,
        )
        return number, outcome


def name_sites(sites: Sequence[str]) -> str:
    """The option of Snakemake that leaves all other sites out."""
    return f"--config=sites={json.dumps(list(sites), separators=(',', ':'))}"


def _run_recorded(directory: Path, run: Callable[[], Outcome], *, scope: str = "", is_begun: bool = False) -> Outcome:
    """is_begun : the snapshot on disk is this run's own, and nothing has been written since."""
    before = read_snapshot(directory)
    is_taken_over = before is not None and not is_begun
    if before is None:
        before = take_snapshot(directory)
        write_snapshot(directory, before)
    outcome = run()
    if outcome.is_locked:  # the snapshot belongs to the run that holds the trial
        return outcome
    delete_withdrawn(directory)
    try:
        if outcome.n_jobs or outcome.failed or is_taken_over:
            record_run(directory, before, _describe(outcome, scope))
    except (DiskError, AuditError):
        if not outcome.returncode:
            raise
        return outcome  # why jobs failed matters more; the next run takes over what this one wrote
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


def _describe(outcome: Outcome, scope: str) -> str:
    if outcome.failed:
        return f"{outcome.n_jobs} jobs{scope}; failed: {', '.join(sorted(set(outcome.failed)))}"
    return f"{outcome.n_jobs} jobs{scope}"
