"""Inside a peer's environment: fit the voxels of a folder and time it. Needs numpy and the package, nothing of ours."""

import importlib
import importlib.metadata
import json
import sys
import time
from pathlib import Path

import numpy as np


def main(folder: str) -> None:
    """Read request.json and signal.npy, write answer.json."""
    request = json.loads((Path(folder) / "request.json").read_text(encoding="utf-8"))
    signal = np.load(Path(folder) / "signal.npy")
    peer = importlib.import_module(request["module"])
    try:
        version = importlib.metadata.version(peer.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        answer = {"missing": True}
    else:
        try:
            fit = peer.prepare(request["task"], request["acquisition"])
            fit(signal[: max(len(signal) // 50, 2)])
            begin = time.perf_counter()
            estimate = fit(signal)
            answer = {
                "version": version,
                "seconds": time.perf_counter() - begin,
                "estimate": np.ravel(estimate).tolist(),
            }
        except Exception as error:  # whatever the package raises belongs into the table
            answer = {"version": version, "failure": f"{type(error).__name__}: {error}"[:200]}
    (Path(folder) / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
