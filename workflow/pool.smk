# Pool: sites that were run by themselves -> the trial's tables, statistics and report. `isocenter pool` runs this.
# The rules are those of the Snakefile, without any that makes a site's results: these must be there.
import sys
from pathlib import Path

from snakemake.utils import min_version, validate

# The package beside this workflow, whether one is installed or not: a bare clone will do.
sys.path.insert(0, str(Path(workflow.basedir).parent / "scripts"))

from isocenter import layout
from isocenter.demands import memory, runtime
from isocenter.plan import Plan
from isocenter.provenance import code_digest
from isocenter.settings import load_settings

min_version("9.14")


configfile: "config/config.yaml"


validate(config, "schemas/config.schema.yaml")

PLAN = Plan(load_settings(Path.cwd()))


def after_every_intake():
    """Every site was taken in before it came here."""
    return PLAN


include: "rules/statistics.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        layout.REPORT,
        layout.R_SCRIPT,
        [layout.MEASUREMENTS, layout.EXCLUSIONS, layout.FLOW, layout.PLAUSIBILITY],
        [layout.statistics_table(name) for name in layout.STATISTICS_TABLES],
