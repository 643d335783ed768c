"""The one owner of paths: every file of a trial has its name here and nowhere else.

All paths are relative to the trial's folder, which holds ``config/``, ``sites/`` and ``results/``. Names with
braces are patterns for Snakemake's wildcards; :func:`fill` puts values in.
"""

from pathlib import Path

RESULTS = "results"
SITES = "sites"
CONFIG = "config/config.yaml"
SPECTRA = "config/spectra.yaml"
ARTERIAL_INPUTS = "config/arterial_input.yaml"

# What a person writes -------------------------------------------------------------------------------
SITE_FOLDER = f"{SITES}/{{site}}"
SITE_YAML = f"{SITES}/{{site}}/site.yaml"
PARTICIPANTS = f"{SITES}/{{site}}/participants.tsv"
SESSIONS = f"{SITES}/{{site}}/sessions.tsv"
#: What people left out of the analysis, and why; ``isocenter exclude`` and ``include`` write it.
LEFT_OUT = f"{SITES}/{{site}}/exclusions.tsv"
#: Where a site may differ from the protocol; a person accepts each entry, with a reason.
DIFFERENCES = f"{SITES}/{{site}}/differences.yaml"
_SENT = f"{SITES}/{{site}}/rois/sub-{{participant}}_ses-{{session}}_run-{{run}}_{{suffix}}"
#: The labels that a site drew on one of its series (BIDS: a table of index and name beside the image).
SENT_REGIONS = f"{_SENT}_dseg.nii.gz"
#: Everything that a site may send about the regions of a series: that, a DICOM-SEG, shapes, a heart in short axis.
SENT_FILES = tuple(f"{_SENT}{end}" for end in ("_dseg.nii.gz", "_dseg.tsv", "_dseg.dcm", "_shapes.yaml", "_heart.yaml"))
#: A structural scan of a session's participant, T1-weighted, and a mask of the brain in it where there is one.
SENT_STRUCTURAL = f"{SITES}/{{site}}/rois/sub-{{participant}}_ses-{{session}}_T1w.nii.gz"
SENT_BRAIN_MASK = f"{SITES}/{{site}}/rois/sub-{{participant}}_ses-{{session}}_desc-brain_mask.nii.gz"
#: Where a person puts the vials of a phantom (a table, regions.schema.yaml); they are then not searched.
HAND_REGIONS = f"{SITES}/{{site}}/rois/sub-{{participant}}_ses-{{session}}_run-{{run}}_{{suffix}}_vials.tsv"

#: Beside site.yaml: what came out of archives, which holds names as the DICOM does and so stays out of the results.
UNPACKED = ".unpacked"
#: Beside site.yaml too: which file each code in the tables stands for, by the name that the site gave it.
ARRIVED = ".arrived.txt"

# Per site -------------------------------------------------------------------------------------------
SITE = f"{RESULTS}/sites/{{site}}"
#: What all results of a site were made with; there once all of them are.
SITE_RECORD = f"{SITE}/record.json"
SCANS = f"{SITE}/intake/scans.tsv"
INTAKE_EXCLUSIONS = f"{SITE}/intake/exclusions.tsv"
INTAKE_INDEX = f"{SITE}/intake/index.json"
VERDICT = f"{SITE}/onboarding/verdict.json"
#: One line a verdict that differed from the one before; it only grows.
VERDICT_HISTORY = f"{SITE}/onboarding/history.jsonl"
CERTIFICATE = f"{SITE}/onboarding/index.html"
BIDS = f"{SITE}/bids"
DERIVATIVES = f"{SITE}/derivatives/isocenter"
#: What makes them a BIDS dataset, by the name of the step's output.
DERIVATIVES_TOP = {
    "description": f"{DERIVATIVES}/dataset_description.json",
    "readme": f"{DERIVATIVES}/README",
    "descriptions": f"{DERIVATIVES}/descriptions.tsv",
    "participants": f"{DERIVATIVES}/participants.tsv",
    "participants_columns": f"{DERIVATIVES}/participants.json",
    "bidsignore": f"{DERIVATIVES}/.bidsignore",
}

# Per run: sub-<participant>_ses-<session>_run-<run> ---------------------------------------------------
SESSION_FOLDER = "sub-{participant}/ses-{session}"
PREFIX = "sub-{participant}_ses-{session}_run-{run}"
RAW_ANAT = f"{BIDS}/{SESSION_FOLDER}/anat"
RUN = f"{DERIVATIVES}/{SESSION_FOLDER}/anat/{PREFIX}"
ALIGNED = f"{RUN}_desc-aligned_{{suffix}}.nii.gz"
MOTION = f"{RUN}_desc-aligned_{{suffix}}_motion.tsv"
MOTION_FIGURE = f"{RUN}_desc-aligned_{{suffix}}_motion.png"
UNDISTORTED = f"{RUN}_desc-undistorted_{{suffix}}.nii.gz"
DISTORTION_FIGURE = f"{RUN}_desc-undistorted_{{suffix}}.png"
MAP = f"{RUN}_{{map}}.nii.gz"
MAP_STDERR = f"{RUN}_desc-stderr_{{map}}.nii.gz"
MAP_FLAG = f"{RUN}_desc-flag_{{map}}.nii.gz"
FIT = f"{RUN}_desc-fit_{{map}}.nii.gz"
GRADIENT = f"{RUN}_desc-gradient_{{map}}.nii.gz"
PLACEMENT = f"{RUN}_from-{{lender}}_to-{{map}}_xfm.json"
SHIM = f"{RUN}_desc-{{map}}_shim.json"
CALIBRATED = f"{RUN}_desc-calibrated_{{map}}.nii.gz"
CALIBRATED_STDERR = f"{RUN}_desc-calibratedstderr_{{map}}.nii.gz"
CALIBRATED_FLAG = f"{RUN}_desc-calibratedflag_{{map}}.nii.gz"
LABELS = f"{RUN}_labels"
ROIS = f"{RUN}_rois.tsv"
RUN_EXCLUSIONS = f"{RUN}_exclusions.tsv"

# Phantom --------------------------------------------------------------------------------------------
PHANTOM_VIALS = f"{RUN}_desc-{{map}}_vials.tsv"
PHANTOM_PICTURE = f"{RUN}_desc-{{map}}_vials.png"
PHANTOM_RECORD = f"{RUN}_desc-{{map}}_vials.json"
PHANTOM_PAGE = f"{SITE}/phantom/{PREFIX}.html"
PULSES = f"{SITE}/phantom/{{biomarker}}_pulses.json"
TRAINS = f"{SITE}/phantom/{{biomarker}}_trains.json"
VIALS = f"{SITE}/phantom/vials.tsv"
CONTROL = f"{SITE}/phantom/control.tsv"
CALIBRATION = f"{SITE}/calibration/{{biomarker}}.json"

# The trial ------------------------------------------------------------------------------------------
TEMPLATE = f"{RESULTS}/template"
TRIAL = f"{RESULTS}/trial"
MEASUREMENTS = f"{TRIAL}/measurements.tsv"
EXCLUSIONS = f"{TRIAL}/exclusions.tsv"
FLOW = f"{TRIAL}/flow.tsv"
PLAUSIBILITY = f"{TRIAL}/plausibility.tsv"
STATISTICS = f"{TRIAL}/statistics.json"
QUALIFICATION = f"{TRIAL}/qualification.tsv"
#: SAS transport files of the statistics, and the R script that reproduces them from `MEASUREMENTS`.
TRANSPORT = f"{TRIAL}/xpt"
R_SCRIPT = f"{TRIAL}/reproduce.R"
REPORT = f"{RESULTS}/report/index.html"
LOGS = f"{RESULTS}/logs"
RUN_LOG = f"{LOGS}/run.log"
#: Of a dry run, which leaves the log of the last run, or of one that goes on, alone.
PLAN_LOG = f"{LOGS}/plan.log"

# The audit trail --------------------------------------------------------------------------------------
AUDIT = f"{RESULTS}/audit"
AUDIT_LOG = f"{AUDIT}/log.jsonl"
#: Number and SHA-256 of the log's last line.
AUDIT_HEAD = f"{AUDIT}/head.txt"
MANIFEST = f"{AUDIT}/manifest.tsv"
#: How the results stood when a run began; there only until the run is recorded.
OPEN_RUN = f"{AUDIT}/open.json"

#: Names of results that hold only until the next run, which makes them again.
UNSETTLED = f"{AUDIT}/unsettled"
#: SHA-256 of every file that people wrote, as the last run saw them.
SEEN = f"{AUDIT}/seen.json"
#: Who works on a trial now; only one command that changes results does at a time.
HOLDER = f"{AUDIT}/holder.json"
#: The version as which a trial's data are locked; absent while they are not.
LOCK = f"{AUDIT}/lock.json"
#: Of a site that was run elsewhere and taken in: the audit trail that came with it.
ORIGINS = f"{AUDIT}/origins"
ORIGIN = f"{ORIGINS}/{{site}}"
#: A copy of the trial's tables and report, and of what people wrote, as they were when the version was locked.
LOCKED_VERSION = f"{RESULTS}/locked/{{version}}"

# What leaves the trial, below a folder that a person names -----------------------------------------------
EXPORTED_BIDS = "{site}/bids"
EXPORTED_DERIVATIVES = "{site}/derivatives/isocenter"
#: Of files that sources name: of the site, of the trial.
EXPORTED_SITE = "{site}"
EXPORTED_TRIAL = "trial"
_EXPORTED = f"{{site}}/{SESSION_FOLDER}/{PREFIX}"
EXPORTED_MAPS = {
    MAP: f"{_EXPORTED}_{{map}}.dcm",
    MAP_STDERR: f"{_EXPORTED}_desc-stderr_{{map}}.dcm",
    CALIBRATED: f"{_EXPORTED}_desc-calibrated_{{map}}.dcm",
    CALIBRATED_STDERR: f"{_EXPORTED}_desc-calibratedstderr_{{map}}.dcm",
}
EXPORTED_SEGMENTATION = f"{_EXPORTED}_desc-{{map}}_dseg.dcm"
EXPORTED_REPORT = f"{_EXPORTED}_measurements.dcm"

#: The tables that the statistics step writes beside `MEASUREMENTS`, by name (columns in `statistics`).
STATISTICS_TABLES = (
    "accounting",
    "descriptives",
    "repeatability",
    "bland_altman",
    "variance_components",
    "reproducibility",
    "agreement",
    "linearity",
    "harmonization",
    "power",
    "qualification",
    "sensitivity",
    "method_comparison",
    "total_deviation",
    "precision_profile",
    "measurement_error",
    "longitudinal",
)


def statistics_table(name: str) -> str:
    """The path of one table of the statistics."""
    return f"{TRIAL}/{name}.tsv"


def fill(pattern: str, **values: str) -> Path:
    """A path from a pattern; every wildcard of the pattern must be given."""
    return Path(pattern.format(**values))
