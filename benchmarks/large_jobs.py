"""``python -m benchmarks.large_jobs``: steps on images of a clinical size, within the memory that their rules declare.

A head of 192 × 192 × 64 voxels (the shipped template's tissues) as inversion recovery of 8 times and as a train of 16
echoes. Each step is a process in a control group of its own, with the limit that its rule declares for what it reads,
less what the Snakemakes of a job take. Needs root, 4 GB of memory and some minutes. ``--shape`` makes smaller ones.
"""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.control_group import ControlGroup
from isocenter import models
from isocenter.demands import memory, size_of
from isocenter.io.nifti import sidecar_path, write_image
from isocenter.runner import SNAKEFILE
from isocenter.templates import load_mni_template
from isocenter.tissues import TISSUES

SCRIPTS = SNAKEFILE.parents[1] / "scripts"
#: What the two Snakemakes of a job on a cluster take of its memory [MB], as `benchmarks.limits` finds.
SNAKEMAKES = 300
VOXEL = (1.1, 1.1, 2.5)
#: White matter, gray matter, fluid [s], and what they shine with.
T1, T2, PROTONS = (0.84, 1.33, 4.2), (0.080, 0.105, 1.5), (0.70, 0.82, 1.0)
INVERSION_TIMES = (0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0)
ECHO_TIMES = tuple(0.01 * k for k in range(1, 17))
LARGEST, NOISE = 1500.0, 8.0
MB = 1_000_000


@dataclass(frozen=True)
class Job:
    """One step: its rule, what is told of it in the table, its inputs and outputs by name, its parameters."""

    rule: str
    title: str
    inputs: dict[str, list[Path]]
    outputs: dict[str, Path]
    parameters: Sequence[str]

    def paths(self) -> list[str]:
        """All inputs, as a rule has them."""
        return [str(path) for paths in self.inputs.values() for path in paths]

    def command(self) -> str:
        """Its command line."""
        words = [sys.executable, str(SCRIPTS / f"{self.rule}.py")]
        for name, paths in self.inputs.items():
            words += [f"--{name}", *map(str, paths)]
        for name, path in self.outputs.items():
            words += [f"--{name}", str(path)]
        return shlex.join([*words, *self.parameters])


def list_jobs(folder: Path, inversion: list[Path], echoes: list[Path]) -> Iterator[Job]:
    """The jobs in the order in which they need each other."""

    def maps(name: str) -> dict[str, Path]:
        return {kind: folder / f"{name}_{kind}.nii.gz" for kind in ("map", "stderr", "flag", "fit")}

    recovery = ["--model", "t1_inversion_recovery", "--options", '{"robust": "tukey"}']
    aligned = {"aligned": folder / "aligned.nii.gz", "motion": folder / "motion.tsv", "figure": folder / "motion.png"}
    yield Job("align_series", "8 inversion times", {"series": inversion}, aligned,
              [*recovery, "--method", "rigid", "--limit", "20", "--seed", "1"])  # fmt: skip
    yield Job("fit_map", "T1 of 8 inversion times", {"series": [aligned["aligned"]]}, maps("T1"),
              [*recovery, "--parameter", "T1", "--unit", "s", "--plausible-range", "[0.01, 6.0]"])  # fmt: skip
    yield Job("fit_map", "T2 of 16 echoes", {"series": echoes}, maps("T2"),
              ["--model", "t2_extended_phase_graph", "--options", "{}", "--parameter", "T2", "--unit", "s",
               "--plausible-range", "[0.002, 3.0]"])  # fmt: skip
    template = folder / "template"
    yield Job("make_template", "", {}, {"template": template}, [])
    for name in ("T1", "T2"):
        _rename(folder, maps(name), name)
    named = {kind: [_name(folder, kind, name) for name in ("T1", "T2")] for kind in ("map", "stderr", "flag", "fit")}
    labels = folder / "labels"
    yield Job("transfer_labels", "T1 and T2",
              {"template": [template], "maps": named["map"], "fits": named["fit"]},
              {"labels": labels}, ["--seed", "1"])  # fmt: skip
    rois = '["white_matter", "gray_matter", "csf"]'
    yield Job(
        "extract_rois", "T1 and T2",
        {"labels": [labels], **{f"{kind}s": named[kind] for kind in ("map", "stderr", "flag")}},
        {"table": folder / "rois.tsv", "exclusions": folder / "exclusions.tsv"},
        ["--biomarkers", '["T1", "T2"]', "--rois", f'{{"T1": {rois}, "T2": {rois}}}', "--site", "a", "--scanner", "a",
         "--participant-id", "01", "--kind", "volunteer", "--session", '"1"', "--run", '"1"', "--field-strength", "3"],
    )  # fmt: skip


def _name(folder: Path, kind: str, name: str) -> Path:
    """What a map, or what belongs to it, is called where later steps read it."""
    return folder / f"sub-01_{'' if kind == 'map' else f'desc-{kind}_'}{name}map.nii.gz"


def _rename(folder: Path, files: dict[str, Path], name: str) -> None:
    for kind, path in files.items():
        target = _name(folder, kind, name)
        path.rename(target)
        if sidecar_path(path).exists():
            sidecar_path(path).rename(sidecar_path(target))


def write_head(folder: Path, shape: tuple[int, int, int]) -> tuple[list[Path], list[Path]]:
    """The files of an inversion recovery and of a train of echoes, whole numbers as scanners send them."""
    template = load_mni_template()
    affine = np.diag([*VOXEL, 1.0])
    affine[:3, 3] = -0.5 * np.array(VOXEL) * shape + [0, -18, 18]
    to_template = np.linalg.inv(template.affine) @ affine
    fractions = np.stack(
        [ndimage.affine_transform(template.tissues[name], to_template, output_shape=shape, order=1) for name in TISSUES]
    ).astype(np.float32)
    rng = np.random.default_rng(20261127)
    recovery = models.get("t1_inversion_recovery").bind({"InversionTime": INVERSION_TIMES, "RepetitionTime": 5.0})
    train = models.get("t2_multi_echo").bind({"EchoTime": ECHO_TIMES})
    curves = [recovery.predict({"T1": np.array(T1), "M0": np.array(PROTONS), "inversion_efficiency": 0.95})]
    curves.append(train.predict({"T2": np.array(T2), "S0": np.array(PROTONS)}))
    written = []
    names = (("inv", "IRT1", "InversionTime", INVERSION_TIMES), ("echo", "MESE", "EchoTime", ECHO_TIMES))
    for curve, (entity, suffix, key, times) in zip(curves, names, strict=True):
        files = []
        for number, (time, signal) in enumerate(zip(times, np.moveaxis(curve, -1, 0), strict=True), start=1):
            image = LARGEST * np.tensordot(signal.astype(np.float32), fractions, 1)
            noise = rng.normal(0, NOISE, (2, *shape)).astype(np.float32)
            image = np.rint(np.hypot(image + noise[0], noise[1]))
            path = folder / f"sub-01_{entity}-{number}_{suffix}.nii.gz"
            sidecar = {key: time, "RepetitionTime": 5.0, "MagneticFieldStrength": 3.0}
            write_image(path, image.astype(np.int16), affine, sidecar)
            files.append(path)
        written.append(files)
    return written[0], written[1]


def run_job(job: Job) -> tuple[float, int, int]:
    """Run a job within its limit; what it took and what its rule declares [MB], and how many processes were killed.

    RuntimeError when it fails by itself.
    """
    declared = memory(job.rule)(None, job.paths(), 1)
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    with ControlGroup(f"isocenter-{os.getpid()}-large", limit=(declared - SNAKEMAKES) * MB) as group:
        process = group.start(f"exec {job.command()}", environment)
        use = group.watch(process)
    if process.returncode and not use["killed"]:
        raise RuntimeError(f"{job.rule} failed: {job.command()}")
    return use["peak"] + SNAKEMAKES, declared, int(use["killed"])


def main(arguments: list[str] | None = None) -> int:
    """1 when a job was ended for want of memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_jobs", description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(192, 192, 64), metavar="N", help="voxels")
    given = parser.parse_args(arguments)
    lines = ["| rule | on | reads | takes | declared | left |", "|---|---|---|---|---|---|"]
    is_whole = True
    with tempfile.TemporaryDirectory(prefix="isocenter-large-") as name:
        folder = Path(name)
        inversion, echoes = write_head(folder, tuple(given.shape))
        for job in list_jobs(folder, inversion, echoes):
            taken, declared, killed = run_job(job)
            size = size_of(job.paths())
            left = "killed" if killed else f"{100 * (1 - taken / declared):.0f} %"
            lines.append(f"| `{job.rule}` | {job.title} | {size:.0f} MB | {taken:.0f} MB | {declared} MB | {left} |")
            if killed:  # what follows reads what it did not write
                is_whole = False
                break
    print("\n".join(lines))
    return int(not is_whole)


if __name__ == "__main__":
    sys.exit(main())
