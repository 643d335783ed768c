"""The statistics in the terms of other tools: SAS transport files, and an R script that reproduces them.

Reads the measurements and every statistics table; writes one XPT file a table and a script beside the tables.
"""

from isocenter.io.r_script import write_r_script
from isocenter.io.tables import read_table
from isocenter.io.transport import write_transport
from isocenter.statistics.metric import KEY
from isocenter.step import In, Ins, Out, OutDir, run_step

#: Columns of the measurements that are labels, whatever they look like.
TEXT = (*KEY, "scanner", "kind", "unit", "calibration", "map", "calibrated_flag", "lent_maps", "erosion", "flags")


def export_statistics(measurements: In, tables: Ins, *, transport: OutDir, r_script: Out) -> None:
    """Write the transport files into the folder `transport`, and the script."""
    everything = {"measurements": read_table(measurements, text=TEXT)}
    for path in tables:
        everything[path.stem] = read_table(path, text=TEXT)
    write_transport(transport, everything)
    write_r_script(r_script)


if __name__ == "__main__":
    run_step(export_statistics, globals())
