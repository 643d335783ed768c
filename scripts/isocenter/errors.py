"""What can go wrong, by whose hand it is mended.

Every message says what, where, expected, found and what to do: :func:`explain` puts the five in one line.
"""


class IsocenterError(Exception):
    """Base of everything that Isocenter raises on purpose."""


class ConfigError(IsocenterError):
    """A file that a person wrote (YAML, TSV) or an option is wrong."""


class SidecarError(IsocenterError):
    """An acquisition value that a model or step needs is absent or unusable in the sidecar."""


class DicomError(IsocenterError):
    """A DICOM file or series cannot be read or used."""


class ProtocolError(IsocenterError):
    """A protocol file is inconsistent, or a series cannot be held against it."""


class FitError(IsocenterError):
    """A fit cannot be made at all (single voxels that fail are NaN with a flag instead)."""


class RegistrationError(IsocenterError):
    """A series or a template cannot be registered."""


class CalibrationError(IsocenterError):
    """A phantom measurement or calibration cannot be made or applied."""


class TableError(IsocenterError):
    """A table lacks columns, has wrong values, or contradicts itself."""


class AuditError(IsocenterError):
    """The audit trail cannot be read or continued."""


class HeldError(IsocenterError):
    """A trial is held by another command, or its data are locked."""


class MachineError(IsocenterError):
    """The machine is at fault and not the data; what failed is tried again by the next run."""


class DiskError(MachineError):
    """A file cannot be written: the disk is full, read-only or gone."""


class OutOfMemoryError(MachineError):
    """A step wanted more memory than there is."""


class IsocenterWarning(UserWarning):
    """A thing worth saying that does not stop the work; an error in tests."""


def explain(what: str, *, where: str = "", expected: str = "", found: object = "", remedy: str = "") -> str:
    """One line for an error: what happened, where, expected, found, and what to do."""
    parts = [what]
    for label, value in (("where", where), ("expected", expected), ("found", found), ("what to do", remedy)):
        text = str(value)
        if text:
            parts.append(f"{label}: {text}")
    return "; ".join(parts)


def part_remedy(message: str) -> tuple[str, str]:
    """What an error says and, as a sentence of its own, what to do about it ("" where it does not say).

    Several complaints, a line each, stay together: each has its own remedy.
    """
    if "\n" in message:
        return message, ""
    reason, _, remedy = message.partition("; what to do: ")
    return reason, remedy[:1].upper() + remedy[1:]
