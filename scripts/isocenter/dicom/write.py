"""Write a simulated series as the DICOM of its site's vendor."""

from pathlib import Path

from isocenter.dicom.write_classic import write_classic
from isocenter.dicom.write_enhanced import write_enhanced
from isocenter.simulation.design import Acquisition
from isocenter.simulation.scanner import SimulatedSeries


def write_series(folder: Path, plan: Acquisition, series: SimulatedSeries) -> list[Path]:
    """Write one simulated series into `folder` in its site's dialect; returns the files in order."""
    if plan.site.dialect == "philips_enhanced":
        return [write_enhanced(folder, plan, series)]
    return list(write_classic(folder, plan, series))
