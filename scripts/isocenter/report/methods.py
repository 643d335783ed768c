"""The methods text of what really ran, and the dictionary of the tables."""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import isocenter
from isocenter.entities import name_fields
from isocenter.regions.erosion import Erosion
from isocenter.report.citations import STATISTICS, cite, find_dois
from isocenter.report.dictionary import COLUMNS, TABLES
from isocenter.report.gather import Trial
from isocenter.report.grras import grras_table
from isocenter.report.tabulate import Cell, Table, table_of
from isocenter.report.wording import (
    explain_flag,
    format_number,
    is_missing,
    list_flags,
    name_roi,
    plural,
    shorten,
    shown_unit,
)
from isocenter.statistics.verdict import MINIMUM_DF

#: what each key of a model's card is called on the page
_CARD = ("equation", "assumptions", "needs", "parameters", "known bias", "reference")


def methods_context(trial: Trial) -> dict[str, Any]:
    """What ``methods.html`` shows."""
    biomarkers = [describe_biomarker(trial, name, block) for name, block in trial.biomarkers.items()]
    dois = [doi for b in biomarkers for doi in b["dois"]]
    dois += ["10.1002/mrm.28779", "10.1119/1.1632486"] if trial.calibrations else []
    dois += ["10.1016/j.neuroimage.2010.09.025"] if len(trial.tables["motion"]) else []
    dois += STATISTICS if len(trial.tables.get("reproducibility", [])) else []
    return {
        "biomarkers": biomarkers,
        "statistics": describe_statistics(trial),
        "claims": claim_table(trial),
        "references": cite([*dois, "10.12688/f1000research.29032.2"]),
        "facts": run_facts(trial),
        "dictionary": dictionary_tables(trial),
        "grras": grras_table(trial),
        "flags": flag_table(trial),
    }


def model_card(name: str) -> dict[str, str]:
    """The card at the top of a model's file: equation, assumptions, needs, parameters, known bias, reference.

    Read as text, so that a report never has to load the models.
    """
    path = Path(isocenter.__file__).parent / "models" / f"{name}.py"
    if not path.is_file():
        return {}
    card: dict[str, str] = {}
    key = ""
    for line in (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines():
        start = next((k for k in _CARD if line.startswith(k + " ")), "")
        if start:
            key = start
            card[key] = line[len(start) :].strip()
        elif key and line.startswith(" "):
            card[key] += " " + line.strip()
        else:
            key = ""
    return card


#: Where regions come from, by the biomarker's `regions`.
_SOURCES = {
    "template": "were brought into scan space with ANTs, from the MNI152 template (doi "
    "10.1016/j.neuroimage.2010.07.033) by a diffeomorphism (doi 10.1016/j.media.2007.06.004)",
    "site": "are those that the site drew on the series",
    "heart": "are the myocardium as the site outlined it, divided into the segments of the American Heart Association "
    "(doi 10.1161/hc0402.102975)",
    "thigh": "were told from the water and fat that the same fit gave",
}
_UNDONE = " Where the fits became worse by it, it was undone."
#: What was done to the volumes of a series before the fit, by the biomarker's `align`.
_ALIGNMENTS = {
    "none": "The volumes of a series belong to one acquisition and were not aligned.",
    "reference": "Before the fit the volumes of each series were registered rigidly with ANTs to a reference volume."
    + _UNDONE,
    "mean": "Before the fit the volumes of each series were registered rigidly with ANTs to the mean of all." + _UNDONE,
    "rigid": "Before the fit the volumes of each series were aligned rigidly with ANTs to a reference volume, each to "
    "a prediction of it from the other volumes, so that the change of contrast is not taken for motion." + _UNDONE,
    "model": "Before the fit the volumes of each series were aligned rigidly with ANTs to a reference volume, each to "
    "what the other volumes and the signal model predict of it, so that the change of contrast is not taken for motion."
    + _UNDONE,
    "deformable": "Before the fit each volume of a series was warped with ANTs (SyN) to what the signal model, fitted "
    "to the other volumes, predicts of it." + _UNDONE,
}


def describe_biomarker(trial: Trial, name: str, block: dict[str, Any]) -> dict[str, Any]:
    """How one biomarker was made, in sentences, with its model's card."""
    unit, factor = shown_unit(block.get("unit"))
    low, high = (block.get("plausible_range") or [None, None])[:2]
    card = model_card(str(block.get("model", "")))
    options = ", ".join(f"{k} = {v}" for k, v in (block.get("options") or {}).items())
    sentences = (
        []
        if _has_data(trial, name, block)
        else ["Nothing has been fitted or measured yet: this is what the configuration asks for."]
    )
    sentences += [
        f"{block.get('title', name)} ({name}) was fitted voxel by voxel with the model {block.get('model')} to the "
        f"series {block.get('suffix')}" + (f" ({options})" if options else "") + "."
    ]
    if low is not None and high is not None:
        sentences.append(
            f"Values outside {format_number(low * factor)} to {format_number(high * factor)} {unit} were flagged and "
            "left out; a voxel that could not be fitted holds no value."
        )
    sentences.append(_ALIGNMENTS[block.get("align", "none")])
    fields, marks = name_fields(block, "distortion"), name_fields(block, "field_gradient")
    if fields:
        sentences.append(
            f"Distortion along the phase-encoding axis was corrected by the map of {' or '.join(fields)} of the same "
            "session, with the Jacobian of the shift, motion and distortion in one interpolation; a series without "
            "such a map, or whose readout neither the header nor the site tells, was fitted as scanned: its rows say "
            "uncorrected."
        )
    if marks:
        sentences.append(
            f"Voxels in which the gradient of the map of {' or '.join(marks)} made more than "
            f"{block['gradient_limit']:g} % of the measured decay rate keep their value and are counted in each row "
            "(steep_field)."
        )
    sentences += _calibration_sentences(trial, name, block)
    rois = ", ".join(name_roi(r) for r in block.get("rois", []))
    sentences.append(f"Regions ({rois}) {_describe_regions(trial, block)}.")
    sentences.append(
        f"Each region is summarized by the {block.get('roi_statistic', 'median')} over its valid voxels with a "
        "standard error that holds the fit, the correlation of neighboring voxels and the calibration. Where blurring "
        "the map by a voxel's own box once more moves it by more than 1 %, its row says partial_volume: the value then "
        "leans toward the tissue around the region, and its standard error does not hold that."
    )
    if block.get("scale") == "log":
        sentences.append("Its statistics are made on the log scale, declared beforehand; coefficients read as percent.")
    if block.get("field_dependent"):
        sentences.append("It depends on field strength: values from different field strengths are never pooled.")
    dois = [*find_dois(card.get("reference", "")), *find_dois(" ".join(sentences))]
    dois += ["10.1002/mrm.1910340111"] if fields else []
    dois += ["10.1002/mrm.1910390316"] if marks else []
    return {"name": name, "text": " ".join(sentences), "card": card, "dois": dois}


def _has_data(trial: Trial, name: str, block: dict[str, Any]) -> bool:
    """Whether a biomarker has a map or a value, so that the past tense holds."""
    return len(trial.rows("measurements", biomarker=name)) > 0 or any(
        map_name == block.get("map") for _, map_name in trial.maps
    )


def _describe_regions(trial: Trial, block: dict[str, Any]) -> str:
    source, erosion = block.get("regions", "template"), Erosion.from_dict(block.get("erosion"))
    text = _SOURCES[source]
    brain = (trial.settings.get("regions") or {}).get("brain", {})
    if source == "template" and brain.get("segmentation") == "atropos":
        text += ", and refined by a segmentation of the scan itself (Atropos, doi 10.1007/s12021-011-9109-y)"
    return text + (f"; {erosion} was taken off their rim" if str(erosion) != "none" else "")


def _calibration_sentences(trial: Trial, name: str, block: dict[str, Any]) -> list[str]:
    if block.get("calibration") != "phantom":
        return ["It was not calibrated on a phantom."]
    curves = [c for (_, biomarker), c in trial.calibrations.items() if biomarker == name]
    applied = Counter(str(c.get("form")) for c in curves if not c.get("refused"))
    refused = sum(bool(c.get("refused")) for c in curves)
    forms = ", ".join(f"{form} at {plural(n, 'site')}" for form, n in sorted(applied.items()))
    text = (
        "Each site was calibrated on its phantom: vials located, measured, and regressed with errors in both variables "
        "against reference values interpolated to the temperature of the day; the form ("
        + ", ".join(block.get("calibration_forms", ["none", "gain", "linear"]))
        + ") was "
        "chosen by its leave-one-out error, the simpler one unless another is clearly better"
    )
    text += f" ({forms or 'no site was calibrated'})."
    if refused:
        text += f" At {plural(refused, 'site')} no calibration could be made; values there stay as measured."
    return [text]


def describe_statistics(trial: Trial) -> str:
    """The statistics in sentences, as far as they ran."""
    if not len(trial.tables.get("reproducibility", [])):
        return "No statistics were computed: there are no measurements to compare."
    used = trial.tables.get("bland_altman", {}).get("method", [])
    limits = ", ".join(sorted({str(m) for m in used if not is_missing(m)})) or "none estimated"
    return (
        "Within-subject precision is the root mean square over participants of the SD of repeats; intervals by χ². "
        "Variance components (subject, site, subject × site, session, residual) are estimated by restricted maximum "
        "likelihood with bounds at zero. Repeatability, intermediate precision and reproducibility (RDC) coefficients "
        "are 1.96·√2 times the SD of the components they hold, with one-sided 95 % bounds by the modified large sample "
        "method, which keeps its coverage with few sites where usual intervals do not; the price at three sites is an "
        f"upper bound of about three times the estimate. Intervals of the limits of agreement: {limits}. ICC are "
        "reported with their form and interval and decide nothing: they depend on how different the participants are. "
        "A metric is qualified when its upper bound does not exceed the change that was declared to matter and the "
        "preconditions (linearity, bias, accounting) hold; not qualified when its lower bound exceeds it or a "
        "precondition fails with confidence; indeterminate otherwise, and with fewer than "
        f"{MINIMUM_DF} degrees of freedom. Each metric was declared beforehand, so no correction for multiplicity "
        "applies." + _describe_errors(trial) + _describe_others(trial)
    )


def _describe_errors(trial: Trial) -> str:
    """What standard errors were held against, and what that cannot tell."""
    held = {str(name) for name in trial.tables.get("measurement_error", {}).get("component", [])}
    told = ""
    if "residual" in held:
        told += " The noise of the fits is held against the variance of repeats, to show how much of it they explain."
    if "site" in held:
        told += (
            " The standard errors of the calibrations are held against the variance between sites as an upper limit: "
            "a standard error does not say which part of it all sites share, through one traveling phantom or one set "
            "of reference values, and that part makes no site differ from another."
        )
    return told


def _describe_others(trial: Trial) -> str:
    """The analyses beside the primary one, by name."""
    told = ""
    for name, column, words in (
        ("sensitivity", "analysis", "The decision was repeated under other analyses"),
        ("harmonization", "method", "Components before and after were compared for"),
    ):
        names = [str(v).replace("_", " ") for v in trial.tables.get(name, {}).get(column, [])]
        names = [n for n in dict.fromkeys(names) if n and n != "primary"]
        told += f" {words}: {shorten(', '.join(names), 400)}." if names else ""
    return told


def claim_table(trial: Trial) -> Table:
    """What was declared before the trial."""
    rows = [
        [
            str(c.get("biomarker", "")),
            name_roi(c.get("roi", "")),
            str(c.get("coefficient", "")).replace("_", " "),
            f"{c.get('delta')} {'%' if c.get('delta_unit') == 'percent' else c.get('delta_unit', '')}",
            Cell(shorten(c.get("context_of_use", ""), 160)),
            Cell(shorten(c.get("source", ""), 300)),
            Cell(shorten(c.get("date", ""), 40), is_kept=True),
        ]
        for c in trial.settings.get("claims", [])
    ]
    columns = ["Biomarker", "Region", "Coefficient", "Change that matters", "Context of use", "Source", "Date"]
    return table_of(
        "claims", columns, rows, empty="No change was declared to matter; so there is no verdict.", is_simple=True
    )


def run_facts(trial: Trial, *, with_tools: bool = True) -> list[tuple[str, str]]:
    """Version, date, seed, config hash and the versions of the tools, as far as they were passed in."""
    s = trial.settings
    facts = [("Trial", s.get("trial")), ("Isocenter", s.get("version", isocenter.__version__)), ("Date", s.get("date"))]
    facts += [("Latest dated scan", latest_date(trial)), ("Hash of the configuration", s.get("config_hash"))]
    facts += [("Seed", s.get("seed"))]
    facts += sorted((s.get("versions") or {}).items()) if with_tools else []
    return [(label, shorten(value, 80)) for label, value in facts if value not in (None, "")]


def latest_date(trial: Trial) -> str:
    """The latest day that a scan of the trial is known by; the report itself has no clock, so as to be made again."""
    dates = [str(d) for name in ("scans", "vials") for d in trial.tables.get(name, {}).get("date", []) if d]
    return max((d for d in dates if re.fullmatch(r"\d{4}-\d\d-\d\d", d)), default="")


def dictionary_tables(trial: Trial) -> list[tuple[str, str, Table]]:
    """(name, what the table is, its columns) for every table of the report."""
    found = []
    for name, table in trial.tables.items():
        rows = [[str(c), *COLUMNS.get(str(c), ("", "as its name says"))[::-1]] for c in table.columns]
        found.append(
            (
                name,
                TABLES.get(name, ""),
                table_of(
                    f"columns_{name}",
                    ["Column", "Meaning", "Unit"],
                    rows,
                    is_simple=True,
                    empty="No column: the table is empty.",
                ),
            )
        )
    return found


def flag_table(trial: Trial) -> Table:
    """The flags that occur in this trial's statistics, in words."""
    found: Counter[str] = Counter()
    for table in trial.tables.values():
        for cell in table.get("flags", []):
            found.update(list_flags(cell))
    rows = [[name.replace("_", " "), Cell(explain_flag(name)), n] for name, n in sorted(found.items())]
    return table_of("flags", ["Flag", "Meaning", "Rows"], rows, empty="No estimate carries a flag.", is_simple=True)
