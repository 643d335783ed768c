"""Run other packages on our voxels, each in an environment of its own, and say which are not there."""

import importlib
import json
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.task import Task
from isocenter.models import Bound

_ROOT = Path(__file__).resolve().parents[1]
_LIMIT = 600.0


@dataclass(frozen=True)
class PeerRun:
    """What one package did on one task: voxels per second and median |estimate / truth - 1|, or a note why not."""

    peer: str
    version: str
    speed: float | None
    error: float | None
    note: str


def run_peers(task: Task, bound: Bound, pythons: Sequence[str], *, snr: float, share: float) -> list[PeerRun]:
    """Every peer that answers this task, in the first of the environments that has it."""
    folder = importlib.import_module("benchmarks.peers")
    found = []
    for file in pkgutil.iter_modules(folder.__path__, "benchmarks.peers."):
        peer = importlib.import_module(file.name)
        if task.name in peer.TASKS:
            found.append(_run_peer(file.name, peer, task, bound, pythons, snr=snr, share=share))
    return found


def _run_peer(module, peer, task: Task, bound: Bound, pythons: Sequence[str], *, snr: float, share: float) -> PeerRun:
    count = max(int(peer.VOXELS[task.name] * share), min(peer.VOXELS[task.name], 8))
    truth, signal = task.draw(bound, count, snr=snr, seed=3)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "signal.npy", signal)
        request = {"module": module, "task": task.name, "folder": folder, "acquisition": dict(task.acquisition)}
        (Path(folder) / "request.json").write_text(json.dumps(request), encoding="utf-8")
        for python in pythons or [sys.executable]:
            answer = _ask(python, folder)
            if answer.get("missing"):
                continue
            if "failure" in answer:
                return PeerRun(peer.PACKAGE, answer.get("version", ""), None, None, answer["failure"])
            estimate = np.asarray(answer["estimate"], dtype=float)
            error = float(np.nanmedian(np.abs(estimate / task.read_truth(bound, truth) - 1)))
            return PeerRun(peer.PACKAGE, answer["version"], count / answer["seconds"], error, peer.NOTE)
    return PeerRun(peer.PACKAGE, "", None, None, "not installed")


def _ask(python: str, folder: str) -> dict:
    """Run the worker; whatever it prints besides is the package's own chatter."""
    command = [python, "-m", "benchmarks.peer_worker", folder]
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"failure": f"took more than {_LIMIT:.0f} s"}
    answer = Path(folder) / "answer.json"
    if not answer.exists():
        return {"failure": (done.stderr.strip().splitlines() or ["no answer"])[-1][:100]}
    return json.loads(answer.read_text(encoding="utf-8"))
