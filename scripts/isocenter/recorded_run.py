"""A run of the workflow that leaves its trace in the audit trail: an entry, and the manifest of what it wrote."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from isocenter import audit, layout
from isocenter.manifest import read_manifest, read_snapshot, take_snapshot, update_manifest, write_snapshot
from isocenter.provenance import SCRIPTS, environment_digest, file_digest
from isocenter.runner import Outcome, Progress, run_workflow

#: Options of Snakemake with which a run writes no result.
IDLE_OPTIONS = frozenset({"-n", "--dry-run", "--dryrun", "--unlock"})
#: Files that people write: what a run was asked to do.
_WRITTEN = ("config/**/*.yaml", "config/**/*.tsv", f"{layout.SITES}/*/*.yaml", f"{layout.SITES}/*/*.tsv")


def run_recorded(
    directory: Path,
    *,
    cores: int,
    options: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Run the workflow in a trial's folder and record it, also when a job failed; a run that did nothing is no entry.

    A run that is killed records nothing: the next one takes over what it wrote.
    """
    if IDLE_OPTIONS & set(options):
        return run_workflow(directory, cores=cores, options=options, on_progress=on_progress)
    before = read_snapshot(directory)
    is_taken_over = before is not None
    if before is None:
        before = take_snapshot(directory)
        write_snapshot(directory, before)
    outcome = run_workflow(directory, cores=cores, options=options, on_progress=on_progress)
    if outcome.is_locked:  # the snapshot belongs to the run that holds the trial
        return outcome
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


def find_digests(directory: Path) -> dict[str, str]:
    """SHA-256 of the manifest, of what people wrote, of the code, and of the environment's lock."""
    written = sorted({path for pattern in _WRITTEN for path in directory.glob(pattern)})
    code = sorted([*SCRIPTS.rglob("*.py"), *(SCRIPTS.parent / "workflow").rglob("*.smk")])
    found = {
        "manifest": file_digest(directory / layout.MANIFEST),
        "config": _digest_tree(directory, written),
        "code": _digest_tree(SCRIPTS.parent, code),
        "environment": environment_digest(),
    }
    return {name: digest for name, digest in found.items() if digest}


def _digest_tree(root: Path, paths: list[Path]) -> str:
    lines = "".join(f"{path.relative_to(root)}\0{file_digest(path)}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()


def _describe(outcome: Outcome) -> str:
    if outcome.failed:
        return f"{outcome.n_jobs} jobs; failed: {', '.join(sorted(set(outcome.failed)))}"
    return f"{outcome.n_jobs} jobs"
