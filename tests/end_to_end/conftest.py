"""Trials that run through the whole chain, built once a test session."""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from end_to_end.running import RUN

import simulate_trial as simulation
from isocenter import layout
from isocenter.runner import Outcome, run_workflow

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared" / "data"

#: Two sites of different vendors, enough people and repeats for every stage to have work.
SMALL = {"sites": 2, "participants": 2, "sessions": 2, "workers": 2}
#: What names one row of ``measurements.tsv``.
RUN_KEYS = ["site", "participant_id", "session", "run", "biomarker", "roi"]


@dataclass
class Trial:
    """A trial's folder and how its last run ended."""

    directory: Path
    outcome: Outcome | None = None

    def simulate(self, seed: int = 20260101, **settings) -> None:
        """Write the trial's DICOM and config."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / "config").exists():
            shutil.copytree(REPOSITORY / "config", self.directory / "config")
        phantom = self.directory / "config" / "phantoms" / "nist_system.yaml"
        simulation.simulate_trial(phantom, directory=self.directory, seed=seed, **settings)

    def run(self, *options: str, cores: int = 2) -> Outcome:
        """Run the workflow; the log's end is shown when it fails."""
        self.outcome = run_workflow(self.directory, cores=cores, options=options)
        assert self.outcome.returncode == 0, "\n".join(self.outcome.tail)
        return self.outcome

    def table(self, path: str):
        """A table of the trial, with entities as text."""
        import pandas as pd

        text = dict.fromkeys(("session", "run", "participant_id", "site", "roi", "biomarker", "series"), str)
        return pd.read_csv(self.directory / path, sep="\t", dtype=text, na_values=["n/a"], keep_default_na=False)

    def compare_with_truth(self):
        """Measured beside true, one row a scan and region that has a value; `error` is relative."""
        measured = self.table(layout.MEASUREMENTS)
        truth = self.table("demo-truth/roi_truth.tsv")
        rows = measured.merge(truth[[*RUN_KEYS, "truth"]], on=RUN_KEYS, how="left", validate="one_to_one")
        assert rows["truth"].notna().all()
        return rows[rows["value"].notna()].assign(error=lambda r: r["value"] / r["truth"] - 1)


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Trial:
    """The demonstration trial, whole: simulated and run, or the folder that ISOCENTER_DEMO names."""
    given = os.environ.get("ISOCENTER_DEMO")
    if given:
        return Trial(Path(given))
    trial = Trial(tmp_path_factory.mktemp("demo"))
    trial.simulate(workers=2)
    trial.run()
    return trial


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Trial:
    """A small trial, simulated and run once, or the folder that ISOCENTER_SMALL names. Tests change only copies."""
    given = os.environ.get("ISOCENTER_SMALL")
    if given:
        return Trial(Path(given))
    trial = Trial(tmp_path_factory.mktemp("small"))
    trial.simulate(**SMALL)
    trial.run()
    return trial


@pytest.fixture
def copy_of_small(small, tmp_path) -> Trial:
    """A copy of the finished small trial, times of files kept, so that nothing needs to run again."""
    shutil.copytree(small.directory, tmp_path / "trial", symlinks=True)
    return Trial(tmp_path / "trial")


def as_in_a_terminal() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and so all that this starts, tests included."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start():
    """Begins a run in a trial's folder; what still runs when the test ends is killed."""
    fronts = []

    def begin(directory, output=subprocess.DEVNULL):
        front = subprocess.Popen(
            RUN, cwd=directory, stdout=output, stderr=subprocess.STDOUT, preexec_fn=as_in_a_terminal
        )
        fronts.append(front)
        return front

    yield begin
    for front in fronts:
        front.kill()
        front.wait()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data beside the project; its tests are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the public data sets are not at {SHARED}")
    return SHARED
