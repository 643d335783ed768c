"""One function, two lives: a step is a plain function, bound to a Snakemake rule or to a command line.

A step says with its annotations what each argument is: :data:`In` and :data:`Ins` are files it reads,
:data:`Out` and :data:`OutDir` what it writes, everything else is a parameter. Its last line is
``if __name__ == "__main__": run_step(the_function, globals())``.
"""

import argparse
import contextlib
import inspect
import json
import logging
import os
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from isocenter.costs import Meter
from isocenter.errors import ConfigError, IsocenterError, OutOfMemoryError
from isocenter.io.nifti import refuse_images
from isocenter.io.outcome import note_unsettled, take_unsettled
from isocenter.provenance import code_digest
from isocenter.stamps import stamp_outputs
from isocenter.threads import hold_threads
from isocenter.trouble import find_trouble
from isocenter.unsettled import GIVE_UP, mark_unsettled, report_failure

In = Annotated[Path, "input"]
Ins = Annotated[list[Path], "inputs"]
Out = Annotated[Path, "output"]
OutDir = Annotated[Path, "output", "folder"]

#: Lies beside a folder, as ``.NAME`` and this, while a step writes into it: a file is whole or absent, a folder is not.
BEGUN = ".folder.partial"

#: What a step may ask for besides files and parameters; the rule's own directive, not one of its params.
THREADS = "threads"

#: Parameters that a rule carries for Snakemake alone, so that a change of code or of a folder reruns the job.
RERUN_KEYS = ("code", "tree")

log = logging.getLogger("isocenter")


def roles(function: Callable) -> dict[str, dict[str, inspect.Parameter]]:
    """The arguments of a step by role: ``input``, ``output``, ``params``."""
    hints = typing.get_type_hints(function, include_extras=True)
    found: dict[str, dict[str, inspect.Parameter]] = {"input": {}, "output": {}, "params": {}}
    for name, parameter in inspect.signature(function).parameters.items():
        metadata = getattr(hints.get(name), "__metadata__", ())
        if "input" in metadata or "inputs" in metadata:
            found["input"][name] = parameter
        elif "output" in metadata:
            found["output"][name] = parameter
        elif name != THREADS:
            found["params"][name] = parameter
    return found


def is_list(function: Callable, name: str) -> bool:
    """Whether the input `name` of a step is a list of files."""
    hints = typing.get_type_hints(function, include_extras=True)
    return "inputs" in getattr(hints.get(name), "__metadata__", ())


def run_step(function: Callable, namespace: dict[str, Any]) -> None:
    """Run a step inside a rule's ``script:`` (`namespace` holds ``snakemake``) or from the command line."""
    meter = Meter()
    hold_threads()
    job = namespace.get("snakemake")
    if job is not None:
        _run_in_rule(function, job, meter)
    else:
        sys.exit(_run_from_command_line(function, sys.argv[1:]))


def _run_in_rule(function: Callable, job: Any, meter: Meter) -> None:
    _log_to(job.log[0] if job.log else None)
    arguments: dict[str, Any] = {}
    for name in roles(function)["input"]:
        value = job.input.get(name)
        if is_list(function, name):
            value = [] if value is None else [value] if isinstance(value, str) else list(value)
            arguments[name] = [Path(path) for path in value]
        else:
            arguments[name] = Path(str(value)) if value else None
    for name in roles(function)["output"]:
        arguments[name] = Path(str(job.output.get(name)))
    for name in roles(function)["params"]:
        if name in job.params.keys():  # noqa: SIM118  (a Namedlist's own iteration gives values)
            arguments[name] = job.params.get(name)
    if THREADS in inspect.signature(function).parameters:
        arguments[THREADS] = job.threads
    try:
        begun = _mark_folders(function, arguments)
        _call(function, arguments)
        _stamp(function, arguments, job.params.get("code", ""))
        for mark in begun:
            mark.unlink(missing_ok=True)
    except Exception as error:
        known = find_trouble(error) or error
        if isinstance(known, IsocenterError):
            reason = f"{type(known).__name__}: {known}"
            _tell(reason, job)
            raise SystemExit(1) from error
        _tell(traceback.format_exc(), job)
        raise
    finally:
        meter.tell(job.resources.get("mem_mb"))
    mark_unsettled([str(path) for path in job.output], take_unsettled())


def _mark_folders(function: Callable, arguments: dict[str, Any]) -> list[Path]:
    """Leave a mark beside each folder that a step makes: the next run deletes one whose step was killed.

    Snakemake by itself does not ask for what it had begun where a checkpoint tells of it.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    folders = [arguments[name] for name, hint in hints.items() if "folder" in getattr(hint, "__metadata__", ())]
    marks = [folder.parent / f".{folder.name}{BEGUN}" for folder in folders]
    for mark in marks:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    return marks


def _call(function: Callable, arguments: dict[str, Any]) -> None:
    """Run the step; once more without images where its process was killed for want of memory."""
    why = os.environ.get(GIVE_UP)
    if not why:
        function(**arguments)
        return
    note_unsettled(why)
    with refuse_images(OutOfMemoryError(why)):
        function(**arguments)


def _tell(reason: str, job: Any) -> None:
    """Say why a job failed in its own log, and to who runs the workflow: a full disk may not take the log."""
    with contextlib.suppress(OSError):
        log.error("%s", reason)
    report_failure(job.rule, dict(job.wildcards.items()), job.log[0] if job.log else "", reason)


def _stamp(function: Callable, arguments: dict[str, Any], code: str) -> None:
    """Complete the sidecars of what a step wrote; its first input is what it worked on."""
    found = roles(function)
    inputs = [_as_list(arguments.get(name)) for name in found["input"]]
    outputs = [path for name in found["output"] for path in _as_list(arguments.get(name))]
    sources = [path for paths in inputs for path in paths]
    stamp_outputs(function.__name__, inputs[0] if inputs else [], sources, outputs, code=code)


def _as_list(value: Any) -> list[Path]:
    return [] if value is None else [value] if isinstance(value, Path) else list(value)


def _run_from_command_line(function: Callable, argv: list[str]) -> int:
    _log_to(None)
    arguments = vars(_parser(function).parse_args(argv))
    debug = arguments.pop("debug")
    try:
        function(**arguments)
        models = tuple(filter(None, [arguments.get("model")]))
        _stamp(function, arguments, code_digest(function.__name__, models=models))
    except IsocenterError as error:
        if debug:
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def _parser(function: Callable) -> argparse.ArgumentParser:
    doc = inspect.getdoc(sys.modules.get(function.__module__)) or inspect.getdoc(function) or ""
    parser = argparse.ArgumentParser(
        prog=function.__name__, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found = roles(function)
    for role in ("input", "output"):
        for name, parameter in found[role].items():
            optional = parameter.default is not inspect.Parameter.empty
            options: dict[str, Any] = {"type": Path, "required": not optional, "help": role}
            if role == "input" and is_list(function, name):
                options["nargs"] = "*" if optional else "+"
            if optional:
                options["default"] = parameter.default
            parser.add_argument(f"--{name.replace('_', '-')}", dest=name, **options)
    for name, parameter in found["params"].items():
        optional = parameter.default is not inspect.Parameter.empty
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=_value,
            required=not optional,
            default=parameter.default if optional else None,
            help="parameter (JSON, or plain text)",
        )
    if THREADS in inspect.signature(function).parameters:
        parser.add_argument("--threads", type=int, default=1, help="threads to use (default 1)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _log_to(path: str | None) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    logging.raiseExceptions = path is None  # a disk that takes no log is told of by what the step cannot write
    if path:
        with contextlib.suppress(OSError):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            handlers = [logging.FileHandler(path, mode="w", encoding="utf-8")]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", handlers=handlers, force=True)
    logging.captureWarnings(True)


def check_names(function: Callable, given: dict[str, set[str]]) -> list[str]:
    """How a rule's names differ from its step's signature, one sentence each; empty when they agree.

    `given` holds the names of the rule's ``input``, ``output`` and ``params``.
    """
    if not set(given) <= {"input", "output", "params"}:
        raise ConfigError(f"Unknown directives {sorted(given)}")
    found = roles(function)
    complaints = []
    for role in ("input", "output", "params"):
        names = given.get(role, set()) - set(RERUN_KEYS)
        known = set(found[role])
        required = {n for n, p in found[role].items() if p.default is inspect.Parameter.empty}
        complaints += [f"{role} {n!r} is not an argument of {function.__name__}" for n in sorted(names - known)]
        complaints += [f"{role} {n!r} of {function.__name__} is not given" for n in sorted(required - names)]
    return complaints
