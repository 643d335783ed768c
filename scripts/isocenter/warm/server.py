"""Import once, fork for every job. Started by the runner, ended with it."""

import contextlib
import gc
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from isocenter.processes import die_with_parent
from isocenter.trouble import MORE_MEMORY
from isocenter.unsettled import GIVE_UP

#: How much likelier than others a job is chosen when the kernel must end a process for want of memory (0 to 1000):
#: not Snakemake, and not this server, which would take all jobs with them.
OOM_SCORE = 500

#: What jobs use, slowest first. A module that cannot be imported is left to the jobs that need it.
MODULES = (
    "numpy",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.interpolate",
    "pandas",
    "nibabel",
    "pydicom",
    "jsonschema",  # every step that reads what a person wrote
    "pandas.io.formats.csvs",
    "snakemake.script",  # what Snakemake hands to a job is an object of it
    "isocenter.step",
    "isocenter.io.outcome",
    "isocenter.io.series",
    "isocenter.io.tables",
    "isocenter.fitting",
    "isocenter.models",
    "isocenter.calibration",
    "isocenter.rois",
    "isocenter.phantom.library",
    "isocenter.phantom.locate",
    "isocenter.phantom.measure",
    "isocenter.phantom.echo_trains",
    "isocenter.phantom.locate_phantom",
    "isocenter.phantom.mapped_vials",
    "isocenter.calibration.scanners",
    "isocenter.fitting.derived",
    "isocenter.site_regions",
    "isocenter.figures.alignment",
    "isocenter.figures.vials",
    "matplotlib.figure",  # figures import it when they draw: a second of every registration
    "matplotlib.backends.backend_agg",
)


def serve(address: str) -> None:
    """Listen on a Unix socket at `address` and run each job in a fork of this process, until killed.

    The socket listens before the imports are done, so that jobs that come early wait instead of starting cold.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(128)
    preload()
    gc.freeze()  # what is loaded stays shared between the forks
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries ended jobs
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _end(connection, _run(connection))
        connection.close()


def preload() -> None:
    """Import what jobs use, with ANTs, and load the compiled fits; never start a thread here."""
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for prepare in (_load_ants, _load_kernels, _load_image_formats):
        try:
            prepare()
        except Exception:
            logging.getLogger("isocenter").warning("warm start without %s", prepare.__name__, exc_info=True)


def _load_ants() -> None:
    importlib.import_module("isocenter.registration").load_ants()


def _load_kernels() -> None:
    importlib.import_module("isocenter.fitting").compile_kernels()


def _load_image_formats() -> None:
    """What Pillow loads when it writes its first PNG."""
    importlib.import_module("PIL.Image").preinit()


def _run(connection: socket.socket) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    header, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
    job = json.loads(_receive(connection, struct.unpack("!I", header)[0]))
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.setpgid(0, 0)
    watched = connection, int(job["environment"].get("ISOCENTER_SNAKEMAKE", 0))
    threading.Thread(target=_die_with_client, args=watched, daemon=True).start()
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.argv = job["argv"]
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
    return _work_apart(lambda: _exit_code(lambda: runpy.run_path(sys.argv[0], run_name="__main__")))


def _work_apart(work: Callable[[], int]) -> int:
    """Work in a fork, and outlive it: what the kernel killed for want of memory is run again, to say so.

    It needs no memory then, because the step reads no image (`isocenter.step`). A kill of another origin stays one.
    """
    before, parent = count_oom_kills(), os.getpid()
    child = os.fork()
    if child == 0:
        die_with_parent(signal.SIGKILL, parent)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
        code = work()
        _flush()
        os._exit(code & 0xFF)
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    if -code == signal.SIGKILL and count_oom_kills() > before:
        taken = usage.ru_maxrss / 2**20  # Linux counts KiB
        os.environ[GIVE_UP] = (
            f"The step was ended by the system, which had no memory left; found: {taken:.1f} GiB taken by it; "
            f"what to do: {MORE_MEMORY}"
        )
        return work()
    print(f"The job was killed by signal {-code} ({signal.Signals(-code).name})", file=sys.stderr)
    return 128 - code


def count_oom_kills() -> int:
    """How many processes the kernel has ended for want of memory since it started; 0 where it does not tell."""
    try:
        counters = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in counters.splitlines() if line.startswith("oom_kill ")), 0)


def _exit_code(work: Callable[[], object]) -> int:
    try:
        work()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _flush() -> None:
    with contextlib.suppress(OSError):  # a full disk takes no more words
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()


def _end(connection: socket.socket, code: int) -> None:
    _flush()
    with contextlib.suppress(OSError):
        connection.sendall(struct.pack("!I", code & 0xFF))
    os._exit(code & 0xFF)


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionError("the client ended before the job was told")
        received += part
    return received


def _die_with_client(connection: socket.socket, snakemake: int) -> None:
    """End the job, and what it started, when the client is gone, which Snakemake has killed, or Snakemake itself.

    A client lives on when Snakemake is killed, and its job would write beside those of the next run.
    """
    with contextlib.suppress(OSError):
        watched = [connection]
        if snakemake and hasattr(os, "pidfd_open"):
            try:
                watched.append(os.pidfd_open(snakemake))
            except ProcessLookupError:
                os.killpg(0, signal.SIGKILL)
        select.select(watched, [], [])
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent(signal.SIGKILL, int(os.environ.get("ISOCENTER_FRONT", 0)) or None)
    serve(sys.argv[1])
