"""A job in a warm fork sees and does what a job in a fresh interpreter does."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isocenter import layout, runner
from isocenter.runner import SNAKEFILE, WARM

SLURM = SNAKEFILE.parent / "profiles" / "slurm"

JOB = """
import os, sys
print("out", os.getcwd(), os.environ["COLOR"], sys.argv[1:], __name__)
print("err", file=sys.stderr)
sys.exit(3)
"""


@pytest.fixture
def environment(tmp_path):
    """A server (without the heavy imports: what is tested is the hand-over) and the way to it."""
    address = str(tmp_path / "warm")
    code = f"from isocenter.warm import server; server.preload = lambda: None; server.serve({address!r})"
    plain = os.environ | {"PYTHONPATH": str(WARM.parents[1])}
    server = subprocess.Popen([sys.executable, "-c", code], env=plain)
    wait_for(Path(address).exists)
    yield os.environ | {"ISOCENTER_PYTHON": sys.executable, "ISOCENTER_WARM": address, "COLOR": "blue"}
    server.kill()
    server.wait()


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def run_job(folder, environment, code=JOB, *arguments):
    script = folder / "job.py"
    script.write_text(code)
    command = [str(WARM / "python"), str(script), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_warm_job_is_like_a_plain_one(tmp_path, environment):
    warm = run_job(tmp_path, environment, JOB, "one", "two words")
    plain = run_job(tmp_path, environment | {"ISOCENTER_WARM": ""}, JOB, "one", "two words")
    assert (warm.returncode, warm.stdout, warm.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert warm.returncode == 3
    assert "blue ['one', 'two words'] __main__" in warm.stdout


def test_an_exception_is_exit_1_with_its_traceback(tmp_path, environment):
    ended = run_job(tmp_path, environment, "raise ValueError('no echo')")
    assert ended.returncode == 1
    assert "ValueError: no echo" in ended.stderr


def test_jobs_do_not_see_each_other(tmp_path, environment):
    run_job(tmp_path, environment, "import json; json.mark = 1; import os; os.environ['MARK'] = '1'")
    seen = run_job(tmp_path, environment, "import json, os; print(hasattr(json, 'mark'), 'MARK' in os.environ)")
    assert seen.stdout.split() == ["False", "False"]


def test_a_killed_job_is_an_error(tmp_path, environment):
    ended = run_job(tmp_path, environment, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert ended.returncode == 137


def test_a_job_dies_with_its_client(tmp_path, environment):
    script = tmp_path / "job.py"
    script.write_text(
        "import os, time; open('pid.part', 'w').write(str(os.getpid())); os.rename('pid.part', 'pid')\ntime.sleep(600)"
    )
    client = subprocess.Popen([str(WARM / "python"), str(script)], cwd=tmp_path, env=environment)
    wait_for((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    client.send_signal(signal.SIGTERM)
    client.wait()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_a_job_dies_with_snakemake_though_its_client_lives(tmp_path, environment):
    script = tmp_path / "job.py"
    script.write_text(
        "import os, time; open('pid.part', 'w').write(str(os.getpid())); os.rename('pid.part', 'pid')\ntime.sleep(600)"
    )
    snakemake = subprocess.Popen(["sleep", "600"])
    environment = environment | {"ISOCENTER_SNAKEMAKE": str(snakemake.pid)}
    client = subprocess.Popen([str(WARM / "python"), str(script)], cwd=tmp_path, env=environment)
    wait_for((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    snakemake.kill()
    snakemake.wait()
    assert client.wait(timeout=20) == 137
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_without_a_server_a_job_runs_plainly(tmp_path):
    environment = os.environ | {"ISOCENTER_PYTHON": sys.executable, "ISOCENTER_WARM": str(tmp_path / "nobody")}
    assert run_job(tmp_path, environment, "print('plain')").stdout == "plain\n"


FRONT = """
import os, time
from isocenter.runner import warm_server
with warm_server(dict(os.environ)) as environment:
    while not os.path.exists(environment["ISOCENTER_WARM"]):
        time.sleep(0.02)
    try:
        print("up", flush=True)  # in here: who reads it may interrupt before the next line
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(3)  # a run waits for Snakemake, and then ends the server
        print("stopped")
"""


def test_ctrl_c_in_a_terminal_makes_the_server_say_nothing():
    """A terminal interrupts the whole group of the process that it runs."""
    front = subprocess.Popen(
        [sys.executable, "-c", FRONT], env=os.environ | {"PYTHONPATH": str(WARM.parents[1])}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert front.stdout.readline() == "up\n"
    os.killpg(front.pid, signal.SIGINT)
    said, errors = front.communicate(timeout=60)
    assert (said, errors) == ("stopped\n", "")


GROUPED = """
rule all:
    input: lambda wildcards: [checkpoints.intake.get().output[0], *expand("b/{sample}", sample=range(6))]

checkpoint intake:
    output: "intake.txt"

rule first:
    input: "intake.txt"
    output: "a/{sample}"

rule second:
    input: "a/{sample}"
    output: "b/{sample}"
"""


@pytest.mark.parametrize("seed", [0, 1, 2])  # of hashes, which order Snakemake's sets
def test_a_job_stands_in_one_group_alone(tmp_path, seed):
    """Snakemake by itself puts jobs into two groups or, with the second seed, plans without an end."""
    (tmp_path / "Snakefile").write_text(GROUPED)
    (tmp_path / "intake.txt").touch()
    options = ["--dry-run", "--executor=dryrun", "--rerun-triggers=mtime", "--jobs=10"]
    options += ["--groups", "first=g", "second=g", "--group-components", "g=4"]
    told = subprocess.run(
        [sys.executable, str(WARM / "launch.py"), *options], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONHASHSEED": str(seed)}, check=True,
    )  # fmt: skip
    outputs = re.findall(r"^ *output: (\S+)$", told.stdout + told.stderr, re.MULTILINE)
    assert sorted(outputs) == sorted(f"{folder}/{sample}" for folder in "ab" for sample in range(6))


def test_a_run_that_ends_before_its_steps_do_has_failed(tmp_path, monkeypatch):
    (tmp_path / "launch.py").write_text("print('2 of 5 steps (40%) done')")
    monkeypatch.setattr(runner, "WARM", tmp_path)
    outcome = runner.run_workflow(tmp_path, cores=1, options=["--workflow-profile", str(SLURM)])
    assert outcome.returncode == 1
    assert "after 2 of 5 steps" in outcome.tail[-1]
    assert "after 2 of 5 steps" in (tmp_path / layout.RUN_LOG).read_text()


def test_slurms_executor_has_what_we_take_jobs_back_by():
    """`launch.take_all_back` hangs on undocumented names; that it works is for ``make test-slurm``."""
    import snakemake_executor_plugin_slurm as plugin

    text = inspect.getsource(plugin.Executor)
    assert "self._job_submission_executor = ThreadPoolExecutor(" in text
    assert "self._job_submission_executor.submit(self.run_job, job)" in text
    assert '"run_uuid": self.run_uuid' in text
    assert "--job-name {safe_quote(params.run_uuid)}" in inspect.getsource(plugin.submit_string)


LATE = """
import json, sys, threading
from pathlib import Path
from isocenter.warm import server
server.preload()
threads = threading.active_count()
before = set(sys.modules)
from isocenter.figures.alignment import draw_nothing
from isocenter.documents import read_phantom
from isocenter.io.tables import write_table
import pandas as pd
draw_nothing("no picture")
read_phantom(Path(sys.argv[1]))
write_table(Path(sys.argv[2]), pd.DataFrame({"vial": [1]}))
print(json.dumps([threads, sorted({name.split(".")[0] for name in set(sys.modules) - before})]))
"""


def test_jobs_find_what_they_draw_read_and_write_with_loaded(tmp_path):
    """Matplotlib alone took a second of every registration, once in each fork."""
    phantom = SNAKEFILE.parents[1] / "config" / "phantoms" / "nist_system.yaml"
    command = [sys.executable, "-c", LATE, str(phantom), str(tmp_path / "table.tsv")]
    plain = os.environ | {"PYTHONPATH": str(WARM.parents[1])}
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
    threads, late = json.loads(done.stdout.splitlines()[-1])
    assert threads == 1  # a thread would not live on in the forks, and what it holds would stay locked
    assert not {"matplotlib", "PIL", "scipy", "pandas", "jsonschema", "numpy", "nibabel"} & set(late)
