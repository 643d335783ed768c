"""Snakemake's executor of jobs that the kernel holds to the memory they declare, each in a control group of its own.

A job goes as it goes through Slurm: one Snakemake reads the workflow, starts another, and that one the step, all three
within the limit. `benchmarks.limits` names this folder in PYTHONPATH, and the file to which every job's use is written.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from benchmarks.control_group import ControlGroup
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecMode

#: The file of uses, a line of JSON a job. The inner Snakemake, which is within the limit already, does not see it.
RECORDS = "ISOCENTER_LIMITS"
#: Of the node that each job is on: no rule has more threads, and some take more memory the more they have.
CORES = 4
MB = 1_000_000

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    spawned_jobs_assume_shared_fs=True,
)


class Executor(RealExecutor):
    """Starts every job as a program, and looks at what it takes until it ends."""

    def __post_init__(self):
        self._records = os.environ.get(RECORDS)
        self._running: dict[int, ControlGroup] = {}
        self._count = 0

    def additional_general_args(self):
        return "--executor limited --jobs 1" if self._records else ""

    def run_job(self, job):
        info = SubmittedJobInfo(job)
        self.report_job_submission(info)
        self._count += 1
        watch = self._watch if self._records else self._wait
        threading.Thread(target=watch, args=(info, self._count), daemon=True).start()

    def _wait(self, info: SubmittedJobInfo, number: int) -> None:
        self._report(info, subprocess.run(self.format_job_exec(info.job), shell=True).returncode)

    def _watch(self, info: SubmittedJobInfo, number: int) -> None:
        job = info.job
        declared = int(job.resources["mem_mb"])
        environment = {name: value for name, value in os.environ.items() if name != RECORDS}
        with ControlGroup(f"isocenter-{os.getpid()}-{number}", limit=declared * MB) as group:
            process = group.start(self.format_job_exec(job), environment)
            self._running[number] = group
            use = group.watch(process)
            del self._running[number]
        record = {"rules": sorted(job.rules), "declared": declared, "status": process.returncode, **use}
        with Path(self._records).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._report(info, process.returncode)

    def _report(self, info: SubmittedJobInfo, status: int) -> None:
        if status:
            self.report_job_error(info)
        else:
            self.report_job_success(info)

    def cancel(self):
        for group in list(self._running.values()):
            group.kill()

    def shutdown(self):
        pass

    def get_python_executable(self):
        return sys.executable

    @property
    def cores(self):
        told = self.workflow.resource_settings.cores
        return CORES if told in (None, sys.maxsize) else told

    def get_exec_mode(self) -> ExecMode:
        return ExecMode.REMOTE
