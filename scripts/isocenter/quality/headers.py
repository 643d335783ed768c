"""Header hygiene: known scanners, one software version, nobody's name."""

from typing import Any

from isocenter.quality.acquisition import FIELD_TOLERANCE_PERCENT, Acquisition
from isocenter.quality.check import Check, make_check
from isocenter.quality.values import as_number, count_words, describe_values, format_value

#: Sidecar keys that tell who a person is; none may leave intake.
IDENTIFYING_KEYS = (
    "AccessionNumber",
    "InstitutionAddress",
    "OperatorsName",
    "PatientAddress",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientTelephoneNumbers",
    "PerformingPhysicianName",
    "ReferringPhysicianName",
    "StudyID",
)


def check_headers(acquisitions: list[Acquisition], scanners: list[dict[str, Any]]) -> list[Check]:
    """Whether headers name a scanner of the site at its field strength, keep one software version, tell no one."""
    checks: list[Check] = []
    for (serial, fields), series in _group_by_scanner(acquisitions).items():
        matching = [s for s in scanners if s.get("serial") and s["serial"] == serial]
        common = {"group": "headers", "scope": f"{count_words(len(series), 'series')} of serial {serial or '(none)'}"}
        checks.append(
            make_check(
                bool(matching),
                severity="warn",
                id="known_scanner",
                parameter="DeviceSerialNumber",
                expected=" or ".join(s["serial"] for s in scanners if s.get("serial"))
                or "a serial that site.yaml names",
                found=serial or "missing",
                remedy="Add the scanner to site.yaml, or keep the serial number in the exported headers",
                **common,
            )
        )
        nominal = sorted({float(s["field_strength"]) for s in matching or scanners})
        checks.append(
            make_check(
                bool(fields)
                and all(any(abs(f - n) <= n * FIELD_TOLERANCE_PERCENT / 100 for n in nominal) for f in fields),
                severity="fail",
                id="known_field_strength",
                parameter="MagneticFieldStrength",
                expected=" or ".join(format_value(n, "T") for n in nominal),
                found=describe_values(list(fields), "T"),
                remedy="Mend the field strength in site.yaml, or scan on the scanner that it names",
                tolerance=FIELD_TOLERANCE_PERCENT,
                unit="percent",
                **common,
            )
        )
        versions = sorted({str(v) for a in series for v in a.values("SoftwareVersions")})
        checks.append(
            make_check(
                len(versions) <= 1,
                severity="warn",
                id="one_software_version",
                parameter="SoftwareVersions",
                expected="one version throughout the trial",
                found=", ".join(versions) or "missing",
                remedy="Tell the trial's physicist of the upgrade and rescan the phantom before the next participant",
                **common,
            )
        )
    for acquisition in acquisitions:
        keys = [key for key in IDENTIFYING_KEYS if acquisition.values(key)]
        if keys:
            checks.append(
                make_check(
                    False,
                    severity="fail",
                    id="no_identity",
                    group="headers",
                    scope=acquisition.scope,
                    parameter="sidecar",
                    expected="nothing that tells who a person is",
                    found=", ".join(keys),
                    remedy="Remove the keys and run intake again; tell the trial's data protection officer",
                )
            )
    return checks


def _group_by_scanner(
    acquisitions: list[Acquisition],
) -> dict[tuple[str, tuple[float, ...]], list[Acquisition]]:
    groups: dict[tuple[str, tuple[float, ...]], list[Acquisition]] = {}
    for acquisition in acquisitions:
        serials = sorted({str(value) for value in acquisition.values("DeviceSerialNumber")})
        fields = sorted({as_number(value) for value in acquisition.values("MagneticFieldStrength")}, key=str)
        groups.setdefault((", ".join(serials), tuple(fields)), []).append(acquisition)
    return groups
