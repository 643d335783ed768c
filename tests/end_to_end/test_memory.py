"""A step that takes all memory: the kernel ends it, its scan is a row that says so, and the others go on."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from end_to_end.conftest import REPOSITORY

from isocenter import layout
from isocenter.io.nifti import read_sidecar, read_volume, write_image, write_json
from isocenter.unsettled import read_unsettled

#: What the processes of the run may take together [bytes]; the server alone takes about half.
LIMIT = 900 * 2**20

WORKFLOW = """
import sys
sys.path.insert(0, {scripts!r})
NAMES = ["small", "huge", "other"]
rule all:
    input: expand("maps/{{name}}.nii.gz", name=NAMES)
rule fit_map:
    input: series=["series/{{name}}.nii.gz"]
    output: map="maps/{{name}}.nii.gz", stderr="maps/{{name}}_stderr.nii.gz", flag="maps/{{name}}_flag.nii.gz",
        fit="maps/{{name}}_fit.nii.gz"
    log: "logs/{{name}}.log"
    params: model="t2star_multi_echo", parameter="T2star", unit="s", options={{}}, plausible_range=[0, 1],
        uses_maps={{}}
    message: "fit {{wildcards.name}}"
    script: {script!r}
"""

RUN = """
import sys
from pathlib import Path
from isocenter import runner
outcome = runner.run_workflow(Path.cwd(), cores=1, snakefile=Path("Snakefile").resolve())
print(outcome.returncode, [failure.reason for failure in outcome.failures])
"""


@pytest.fixture
def limited():
    """A control group that may take `LIMIT` of memory; gives the file that takes a process in."""
    for folder, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(folder, f"isocenter-test-{os.getpid()}")
        try:
            group.mkdir()
            (group / name).write_text(str(LIMIT))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        yield group / "cgroup.procs"
        group.rmdir()
        return
    pytest.skip("this machine lets no test limit the memory of a process")


def write_zeros(path, shape):
    """An image of zeros that is small on disk; gzip files may follow one another."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    start = gzip.compress(header.binaryblock + bytes(4))
    path.write_bytes(start + gzip.compress(bytes(2**20), compresslevel=1) * (int(np.prod(shape)) // 2**20))


def test_a_scan_that_is_too_large_is_a_row_and_the_others_go_on(tmp_path, limited):
    (tmp_path / "series").mkdir()
    times = np.array([0.005, 0.01, 0.02, 0.03])
    decay = np.full((12, 12, 4, 1), 1000.0) * np.exp(-times / 0.025)
    for name in ("small", "other"):
        write_image(tmp_path / f"series/{name}.nii.gz", decay.astype(np.float32), np.eye(4))
    write_zeros(tmp_path / "series/huge.nii.gz", (512, 512, 256, 4))  # 1 GiB once it is float32
    for name in ("small", "huge", "other"):
        write_json(tmp_path / f"series/{name}.json", {"EchoTime": times, "MagneticFieldStrength": 3})
    scripts = REPOSITORY / "scripts"
    script = str(scripts / "fit_map.py")
    (tmp_path / "Snakefile").write_text(WORKFLOW.format(scripts=str(scripts), script=script))

    def run(group):
        return subprocess.run(
            [sys.executable, "-c", RUN],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(scripts)},
            preexec_fn=lambda: group.write_text(str(os.getpid())),
        )

    ended = run(limited)
    assert ended.stdout.strip() == "0 []", ended.stdout + ended.stderr + (tmp_path / layout.RUN_LOG).read_text()
    outcome = read_sidecar(tmp_path / "maps/huge.nii.gz")["Outcome"]
    assert outcome["stage"] == "fit"
    assert "ended by the system, which had no memory left" in outcome["reason"]
    assert "GiB taken by it" in outcome["reason"]
    assert outcome["action"].startswith("Run with fewer cores")
    for name in ("small", "other"):
        assert np.nanmedian(read_volume(tmp_path / f"maps/{name}.nii.gz").data) == pytest.approx(0.025, rel=1e-3)
    ((mark, outputs),) = read_unsettled(tmp_path).items()
    assert outputs[0] == "maps/huge.nii.gz"
    for path in outputs:
        (tmp_path / path).unlink()
    shutil.copy(tmp_path / "series/small.nii.gz", tmp_path / "series/huge.nii.gz")  # sent again, in a size that fits
    assert run(limited).stdout.strip() == "0 []"
    assert np.nanmedian(read_volume(tmp_path / "maps/huge.nii.gz").data) == pytest.approx(0.025, rel=1e-3)
    assert not mark.exists()
