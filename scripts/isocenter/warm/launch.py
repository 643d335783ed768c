"""Start Snakemake, with the warm stand-in as the interpreter of its jobs where they run on this machine."""

import inspect
import os
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from isocenter.processes import die_with_parent


def is_warm() -> bool:
    """Whether there is a server that jobs go to; jobs of a cluster start as programs of their own."""
    return bool(os.environ.get("ISOCENTER_WARM"))


def end_with_front() -> None:
    """When the front dies, kill this process and all that it started, which share its process group.

    Where jobs run on a cluster, it is interrupted instead, so that Snakemake takes them back.

    Not by SIGTERM: when it comes while a job fails, which is when the warm server dies at the same moment, Snakemake's
    handler waits for a lock that its own main thread holds, and waits for ever.
    """
    front = int(os.environ.get("ISOCENTER_FRONT", 0)) or None
    if not is_warm():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a program that began in the background ignores it
        die_with_parent(signal.SIGINT, front)
    elif os.getpgrp() == os.getpid():
        signal.signal(signal.SIGRTMIN, lambda *_: os.killpg(0, signal.SIGKILL))
        die_with_parent(signal.SIGRTMIN, front)


def take_all_back() -> None:
    """Have Slurm's executor take back every job of its run when it is interrupted, and send no more.

    By itself it takes back the jobs on its list, which is empty while it looks into the queue, and afterwards sends
    what still waited to be sent.
    """
    from snakemake_executor_plugin_slurm import Executor

    def cancel_jobs(self, active_jobs):
        # Waits for what is being sent, which has no number yet, and drops the rest.
        self._job_submission_executor.shutdown(cancel_futures=True)
        clusters = ["--clusters=all"] if self._submitted_job_clusters else []
        subprocess.run(["scancel", "--name", self.run_uuid, *clusters], check=False)  # the log has what it says

    Executor.cancel_jobs = cancel_jobs


def keep_groups_apart() -> None:
    """Have Snakemake put every job into one group and no other.

    It remembers a group by the jobs that it began with, and gives out that same object, which has swallowed others
    since (``group-components``), when it forms the groups again. Then jobs stand in two groups and are run twice, what
    depends on them waits for ever, and the run ends as if it were whole.
    """
    from snakemake.jobs import GroupJob, GroupJobFactory

    GroupJobFactory.new = lambda self, id, jobs, resources: GroupJob(id, frozenset(jobs), resources)


def look_up_once() -> None:
    """Have Snakemake read the parameters of a function, and take an address to pieces, once instead of for each job.

    Functions of rules are asked for their parameters some thirty times a job: a seventh of the time of a large plan.
    """
    from snakemake import common, jobs, rules, sourcecache

    signature = lru_cache(maxsize=10_000)(inspect.signature)

    def get_function_params(func):
        given = getattr(func, common.FUNC_OVERWRITE_PARAMS_ATTR, None)
        return signature(func).parameters if given is None else given

    for module in (common, jobs, rules):
        module.get_function_params = get_function_params
    sourcecache.parse_uri = lru_cache(maxsize=10_000)(common.parse_uri)


def main() -> None:
    """Run ``launch.py SNAKEMAKE-ARGUMENTS…``."""
    end_with_front()
    if is_warm():
        sys.executable = str(Path(__file__).with_name("python"))
        os.environ["ISOCENTER_SNAKEMAKE"] = str(os.getpid())  # its jobs end with it
    else:
        take_all_back()
    from snakemake import cli

    keep_groups_apart()
    look_up_once()
    start = cli.args_to_api

    def start_without_rate_limit(args, parser):
        # With a limit on jobs per second (it has a default), Snakemake 9 starts a timer after every look at the
        # queue, and every timer that ends makes it look again: after 400 jobs that fills a core.
        args.max_jobs_per_timespan = None
        return start(args, parser)

    cli.args_to_api = start_without_rate_limit
    cli.main()


if __name__ == "__main__":
    main()
