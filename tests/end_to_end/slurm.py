"""A Slurm of one node on this machine: its own keys, ports and folders, beside any other that may run here."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

#: What a cluster of one node needs. Debian has them in slurm-wlm and munge.
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")

#: Where Debian's Slurm looks for its configuration.
DEFAULT_CONFIG = Path("/etc/slurm/slurm.conf")
LINKS = (DEFAULT_CONFIG, DEFAULT_CONFIG.with_name("cgroup.conf"))

CONFIG = """\
ClusterName=isocenter
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
{processes}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=2
MailProg=/bin/true
KillWait=2
MinJobAge=3600
SlurmdTimeout=30
ReturnToService=0
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

#: No control groups are needed: memory is reserved, not enforced.
RESERVE = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none"""
#: The kernel ends what takes more memory than its job asked for.
ENFORCE = """\
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/none"""
CGROUPS = """\
CgroupPlugin=cgroup/v1
ConstrainRAMSpace=yes
"""


def find_obstacle() -> str:
    """Why a Slurm cannot be set up here; "" where it can."""
    missing = missing_programs()
    if missing:
        return f"{', '.join(missing)} not installed"
    if os.geteuid() != 0:
        return "only root can start Slurm's daemons"
    if DEFAULT_CONFIG.exists() and not DEFAULT_CONFIG.is_symlink():
        return f"{DEFAULT_CONFIG} is there: this machine belongs to a cluster"
    return ""


def find_obstacle_to_limits() -> str:
    """Why memory cannot be enforced here; "" where it can. Slurm's second kind of control groups wants systemd."""
    folders = [Path("/sys/fs/cgroup", name) for name in ("memory", "freezer")]
    missing = [str(folder) for folder in folders if not os.access(folder / "cgroup.procs", os.W_OK)]
    return f"{', '.join(missing)} cannot be written" if missing else ""


def missing_programs() -> list[str]:
    """What is not installed of `PROGRAMS`."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


class Slurm:
    """The daemons of one node, started in a folder and stopped by `close`."""

    def __init__(self, folder: Path, *, cores: int, memory: int, is_enforced: bool = False):
        self.folder = folder
        self.host = socket.gethostname().partition(".")[0]
        folder.chmod(0o755)  # munged wants a folder that nobody else may write to, and all may enter
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "slurm.conf").write_text(
            CONFIG.format(
                host=self.host, folder=folder, ports=_free_ports(2), cores=cores, memory=memory,
                processes=ENFORCE if is_enforced else RESERVE,
            )
        )  # fmt: skip
        (folder / "cgroup.conf").write_text(CGROUPS if is_enforced else "")
        # Where every program of Slurm's looks: the executor keeps the variable SLURM_CONF from the jobs.
        DEFAULT_CONFIG.parent.mkdir(exist_ok=True)
        for path in LINKS:
            path.unlink(missing_ok=True)  # of one that was killed
            path.symlink_to(folder / path.name)
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)
        files = {name: folder / f"munge.{name}" for name in ("key", "socket", "pid", "log", "seed")}
        self._start(
            "munged", f"--key-file={files['key']}", f"--socket={files['socket']}", f"--pid-file={files['pid']}",
            f"--log-file={files['log']}", f"--seed-file={files['seed']}",
        )  # fmt: skip
        self._start("slurmctld", "-c")
        self.start_node()

    def start_node(self) -> None:
        """Start the node's daemon and wait until the controller has it."""
        self._start("slurmd")
        wait_for(lambda: self.pid("slurmd") is not None, 30)
        if "DOWN" in self.node_state():
            self.control("update", f"nodename={self.host}", "state=resume")
        wait_for(lambda: self.node_state() in ("IDLE", "MIXED", "ALLOCATED"), 90)

    def take_node_away(self) -> None:
        """Kill the node's daemon and every job on it, as a power cut does, and let the controller know."""
        daemon = self.pid("slurmd")
        assert daemon is not None
        for pid in [daemon, *self.step_daemons()]:
            for victim in [pid, *children(pid)]:
                _kill(victim)
        self.control("update", f"nodename={self.host}", "state=down", "reason=gone")

    def step_daemons(self) -> list[int]:
        """The processes that look after this node's jobs: they stay in the folder of the log."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                is_one = (path / "cmdline").read_bytes().startswith(b"slurmstepd")
                if is_one and (path / "cwd").readlink() == self.folder:
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def node_state(self) -> str:
        """``IDLE``, ``MIXED``, ``DOWN*`` …"""
        return self.ask("sinfo", "--noheader", "--format=%T").strip().upper()

    def jobs(self, *states: str) -> list[str]:
        """The numbers of jobs in some states."""
        return self.ask("squeue", "--noheader", "--format=%i", f"--states={','.join(states)}").split()

    def ended(self) -> list[dict[str, str]]:
        """What Slurm wrote down of each job that ended: JobId, Name, JobState …"""
        path = self.folder / "jobs.txt"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    def control(self, *arguments: str) -> None:
        """Run scontrol."""
        self.ask("scontrol", *arguments)

    def ask(self, *command: str) -> str:
        """What a command of Slurm's says."""
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == 0, f"{' '.join(command)}: {ended.stderr}"
        return ended.stdout

    def pid(self, name: str) -> int | None:
        """The process number of a daemon that runs."""
        path = self.folder / ("munge.pid" if name == "munged" else f"{name}.pid")
        try:
            pid = int(path.read_text())
        except (OSError, ValueError):
            return None
        return pid if Path(f"/proc/{pid}/stat").exists() and not _is_dead(pid) else None

    def close(self) -> None:
        """Take all jobs back and stop the daemons."""
        if self.pid("slurmctld") is not None:
            subprocess.run(["scancel", "--user=root"], capture_output=True)
            time.sleep(2)
        for pid in self.step_daemons():
            for victim in [pid, *children(pid)]:
                _kill(victim)
        for name in ("slurmd", "slurmctld", "munged"):
            pid = self.pid(name)
            if pid is not None:
                os.kill(pid, signal.SIGTERM)
                wait_for(lambda name=name: self.pid(name) is None, 60)
        for path in LINKS:
            path.unlink(missing_ok=True)

    def _start(self, *command: str) -> None:
        path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
        program = shutil.which(command[0], path=path)
        ended = subprocess.run([program, *command[1:]], capture_output=True, text=True)
        assert ended.returncode == 0, f"{command[0]} does not start: {ended.stderr}"


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until something holds; an AssertionError after too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


def children(pid: int) -> list[int]:
    """All processes below one, as the kernel knows them."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = list(map(int, path.read_text().split()))
        except OSError:
            continue
        for child in direct:
            found += [child, *children(child)]
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _is_dead(pid: int) -> bool:
    """Whether a process has ended and only waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
