"""What the documents tell a reader to do, done: page by page, in a copy of the small trial."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from documentation.blocks import ORDER, Block, all_blocks
from house.source import SCRIPTS

from isocenter import layout, models
from isocenter.io.nifti import write_image
from isocenter.recorded_run import record_run

BLOCKS = [block for block in all_blocks() if block.action in ("run", "write", "append")]
#: This page begins with a trial that has no such site yet.
NEW_SITE = "docs/onboarding.md"


@pytest.fixture(scope="module")
def reader(small, tmp_path_factory) -> Path:
    """The folder of a reader: `trial` is a copy of the small trial, `home` their own."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "home").mkdir()
    shutil.copytree(small.directory, folder / "trial", symlinks=True)
    record_run(folder / "trial", {}, "the whole trial")  # as `isocenter demo` does
    write_series(folder / "trial" / "series")
    return folder


@pytest.fixture(scope="module")
def upload(reader) -> Path:
    """What a hospital uploaded: one session of a volunteer, beside a trial without sites."""
    shutil.copytree(reader / "trial" / "config", reader / "new" / "config")
    shutil.copytree(
        next((reader / "trial" / "sites" / "siteA" / "dicom").glob("DEMO-T01_*")), reader / "new" / "upload" / "leiden"
    )
    return reader / "new"


def write_series(folder: Path) -> None:
    """A diffusion series and a complex multi-echo series of known ADC and fat fraction, with BIDS names."""
    folder.mkdir()
    shape = (6, 5, 2)
    b = [0.0, 200.0, 500.0, 1000.0]
    dwi = models.get("adc_monoexponential").bind({"DiffusionBValue": b})
    data = dwi.predict({"ADC": np.full(shape, 1.1e-3), "S0": np.full(shape, 500.0)}).astype(np.float32)
    write_image(folder / "sub-1_dwi.nii.gz", data, np.eye(4), {"MagneticFieldStrength": 3})
    (folder / "sub-1_dwi.bval").write_text(" ".join(f"{value:g}" for value in b) + "\n", encoding="utf-8")
    te = [0.0012 * k for k in range(1, 7)]
    model = models.get("pdff_complex")
    echoes = model.bind({"EchoTime": te, "MagneticFieldStrength": 3})
    truth = {name: np.full(shape, value) for name, value in model.typical.items()}
    signal = echoes.predict(truth)
    for k, echo in enumerate(te, start=1):
        for part, image in (("mag", np.abs), ("phase", np.angle)):
            sidecar = {"EchoTime": echo, "MagneticFieldStrength": 3, **({"Units": "rad"} if part == "phase" else {})}
            path = folder / f"sub-1_echo-{k}_part-{part}_MEGRE.nii.gz"
            write_image(path, image(signal[..., k - 1]).astype(np.float32), np.eye(4), sidecar)


def follow(block: Block, trial: Path, home: Path) -> None:
    """Do what one block says."""
    if block.action in ("write", "append"):
        with (trial / block.told).open("a" if block.action == "append" else "w", encoding="utf-8") as file:
            file.write(block.text)
        return
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": programs, "HOME": str(home), "PYTHONPATH": str(SCRIPTS)}
    environment.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))  # fonts are looked for once a machine
    ended = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block.text], cwd=trial, env=environment, capture_output=True, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    told = f"{block} ended with {ended.returncode}\n{block.text}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    assert ended.returncode == block.exit_code, told
    assert "Traceback" not in ended.stderr, told


@pytest.mark.parametrize("page", [page for page in ORDER if page != NEW_SITE])
def test_what_a_page_says_can_be_done(page, reader):
    for block in BLOCKS:
        if block.page == page:
            follow(block, reader / "trial", reader / "home")


def test_a_site_is_drafted_as_its_page_says(reader, upload):
    for block in BLOCKS:
        if block.page == NEW_SITE:
            follow(block, upload, reader / "home")
    assert (upload / "sites" / "Leiden2" / "site.yaml").is_file()


def test_the_tutorials_decision_stands(reader, small):
    """After all pages: the scan is out, with its reason, in the table and in the log."""

    def rows_of_the_scan(trial: Path) -> list[str]:
        lines = (trial / layout.MEASUREMENTS).read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line.split("\t")[0:5:2] == ["siteA", "T02", "02"]]

    assert rows_of_the_scan(small.directory)
    assert not rows_of_the_scan(reader / "trial")
    log = [json.loads(line) for line in (reader / "trial" / layout.AUDIT_LOG).read_text(encoding="utf-8").splitlines()]
    assert any("wrapped nose" in json.dumps(entry) for entry in log)


def test_a_wrong_exit_code_is_seen(tmp_path):
    (block,) = [Block("a.md", 1, "sh", "isocenter status", "run", "")]
    with pytest.raises(AssertionError, match="ended with 2"):
        follow(block, tmp_path, tmp_path)
