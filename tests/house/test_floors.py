"""Imports go down only, and each third party has its door."""

import subprocess
import sys
from pathlib import Path

import pytest

from house.source import PACKAGE, SCRIPTS, imported_modules, module_name, package_modules, steps

#: Every module or subpackage of ``isocenter`` and the floor it stands on. A new one must be entered here.
FLOORS = {
    0: ("errors", "trouble", "processes", "units", "entities", "registry"),
    1: ("volume",),
    2: (
        "models", "fitting", "fields", "phantom", "calibration", "rois", "interpolation", "motion", "consensus",
        "series_model", "tissues", "left_out", "flow", "statistics", "quality", "simulation", "regions",
    ),
    3: ("io", "dicom", "dataset", "registration", "templates", "figures", "report", "export"),
    4: (
        "layout", "schemas", "complaints", "complaint_list", "documents", "named_options", "biomarker_blocks",
        "settings", "protocol_words", "manual", "plan", "phantom_plan", "field_plan", "provenance", "stamps",
        "step", "runner", "overview", "stats_command", "fit_command", "align_command", "phantom_command",
        "vial_regions", "stats_cli", "design_command", "lineage",
        "site_regions", "atlas", "warm", "audit", "manifest", "recorded_run", "verify_command", "trace_command",
        "trial_digests", "mend", "holder", "data_lock", "decisions", "audit_cli", "decision_cli", "terminal",
        "status_view", "cli", "phantom_sources", "export_selection", "export_bids", "export_dicom",
        "export_cli", "site_draft", "site_cli", "unsettled", "failures", "planned_jobs", "writable", "clock",
        "scan_status", "live_view", "failure_view", "origins", "pooling", "pool_cli",
        "costs", "threads", "demands", "machine", "profiles",
        "completion_cli", "command_manual", "model_manual",
    ),
}  # fmt: skip
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}

#: The command line stands in front of the steps: `isocenter simulate` calls one.
MAY_IMPORT_STEPS = {"isocenter.cli"}

#: Third parties that floors 0 to 2 may use.
SCIENCE = {"numpy", "scipy", "numba", "pandas"}

#: Third parties with a door: the modules that may import them. Others are free from floor 3 up.
DOORS = {
    "ants": ("isocenter.registration",),
    "pydicom": ("isocenter.dicom", "isocenter.export"),  # highdicom's objects are pydicom's
    "dcm2niix": ("isocenter.dicom",),
    "highdicom": ("isocenter.export",),
    # the converter's own NIfTI, straight off its disk; the reader of Siemens' private header
    "nibabel": ("isocenter.io.nifti", "isocenter.dicom.convert", "isocenter.dicom.mosaic", "isocenter.io.received"),
    "matplotlib": ("isocenter.figures",),
    "plotly": ("isocenter.figures",),
    "pingouin": ("isocenter.statistics.agreement",),
    "statsmodels": ("isocenter.statistics",),
    "jinja2": ("isocenter.report",),
    "nilearn": ("isocenter.registration", "isocenter.templates", "isocenter.simulation"),
    "skimage": ("isocenter.registration", "isocenter.templates", "isocenter.fitting", "isocenter.models"),
    "jsonschema": ("isocenter.schemas",),
    "yaml": ("isocenter.schemas", "isocenter.documents"),
    "snakemake": ("isocenter.runner", "isocenter.warm"),
    "snakemake_executor_plugin_slurm": ("isocenter.warm",),
    "typer": (
        "isocenter.audit_cli",
        "isocenter.cli",
        "isocenter.command_manual",
        "isocenter.completion_cli",
        "isocenter.decision_cli",
        "isocenter.export_cli",
        "isocenter.pool_cli",
        "isocenter.site_cli",
        "isocenter.stats_cli",
    ),
    "rich": (
        "isocenter.audit_cli",
        "isocenter.cli",
        "isocenter.export_cli",
        "isocenter.failure_view",
        "isocenter.live_view",
        "isocenter.stats_cli",
        "isocenter.status_view",
        "isocenter.terminal",
    ),
    "pyreadstat": ("isocenter.io.transport",),
    "threadpoolctl": ("isocenter.threads",),
}


def floor_of(module: str) -> int | None:
    parts = module.split(".")
    return FLOOR_OF.get(parts[1]) if parts[0] == "isocenter" and len(parts) > 1 else None


def third_parties(path: Path) -> set[str]:
    local = {"isocenter", "__future__", *(step.stem for step in steps())}
    roots = {name.split(".")[0] for name in imported_modules(path)}
    return {root for root in roots if root and root not in local and root not in sys.stdlib_module_names}


def is_inside(module: str, doors: tuple[str, ...]) -> bool:
    return any(module == door or module.startswith(f"{door}.") for door in doors)


def test_every_module_stands_on_a_floor():
    names = {module_name(path).split(".")[1] for path in package_modules() if path != PACKAGE / "__init__.py"}
    assert names <= set(FLOOR_OF), f"enter {sorted(names - set(FLOOR_OF))} in FLOORS"


@pytest.mark.parametrize("path", package_modules(), ids=module_name)
def test_imports_go_down(path):
    own = floor_of(module_name(path))
    if own is None:  # isocenter/__init__.py, which everything imports
        assert not {name for name in imported_modules(path) if name.startswith("isocenter")}
        return
    for imported in sorted(imported_modules(path)):
        target = floor_of(imported)
        assert target is None or target <= own, f"{module_name(path)} (floor {own}) imports {imported} ({target})"


def test_the_package_imports_no_step():
    names = {step.stem for step in steps()}
    for path in package_modules():
        if module_name(path) not in MAY_IMPORT_STEPS:
            assert not imported_modules(path) & names, module_name(path)


@pytest.mark.parametrize("path", steps(), ids=lambda path: path.stem)
def test_no_step_imports_another(path):
    assert not imported_modules(path) & {step.stem for step in steps()}


@pytest.mark.parametrize("path", [*package_modules(), *steps()], ids=module_name)
def test_third_parties_come_through_their_doors(path):
    module, floor = module_name(path), floor_of(module_name(path))
    for party in sorted(third_parties(path)):
        if party in DOORS:
            assert is_inside(module, DOORS[party]), f"{module} imports {party}; its door is {DOORS[party]}"
        elif floor is not None and floor <= 2:
            assert party in SCIENCE, f"{module} (floor {floor}) imports {party}"


def test_only_steps_that_register_reach_ants():
    """Importing ANTs takes seconds: nothing that another step imports, directly or not, may lead to its door."""
    modules = {module_name(path): path for path in package_modules()}

    def reaches(path: Path, seen: set[str]) -> bool:
        for name in imported_modules(path) & modules.keys() - seen:
            seen.add(name)
            if is_inside(name, DOORS["ants"]) or reaches(modules[name], seen):
                return True
        return False

    registering = {path.stem for path in steps() if reaches(path, set())}
    assert registering == {"align_series", "correct_distortion", "place_map", "transfer_labels"}


def test_modules_do_not_import_in_circles():
    """At the top of a file; an import inside a function is how a cycle would hide, so all count."""
    graph = {}
    paths = package_modules()
    known = {module_name(path) for path in paths}
    for path in paths:
        graph[module_name(path)] = {name for name in imported_modules(path) if name in known} - {module_name(path)}
        # A package's __init__ gathers its own modules; they may import one another past it.
        if path.name == "__init__.py":
            own = module_name(path) + "."
            graph[module_name(path)] = {n for n in graph[module_name(path)] if not n.startswith(own)}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, "a circle: " + " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*trail, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


def test_floors_0_to_2_import_without_the_rest():
    """Delete Snakemake, DICOM, YAML and ANTs from the machine: the science still imports."""
    science = [
        module_name(path)
        for path in package_modules()
        if floor_of(module_name(path)) in (0, 1, 2)
        and not any(p in DOORS and p != "statsmodels" for p in third_parties(path))
    ]
    gone = sorted(set(DOORS) - {"pingouin", "statsmodels", "nilearn"})
    program = (
        "import sys, importlib\n"
        f"for name in {gone!r}: sys.modules[name] = None\n"
        f"for name in {science!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=SCRIPTS, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
