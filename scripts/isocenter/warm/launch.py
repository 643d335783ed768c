"""Start Snakemake with the warm stand-in as the interpreter of its jobs."""

import sys
from pathlib import Path


def main() -> None:
    """Run ``launch.py SNAKEMAKE-ARGUMENTS…``."""
    sys.executable = str(Path(__file__).with_name("python"))
    from snakemake.cli import main as snakemake

    snakemake()


if __name__ == "__main__":
    main()
