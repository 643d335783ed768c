"""Verdicts to write certificates of: a site with much to change, one with nothing, one with hostile text everywhere."""

import numpy as np

from isocenter.quality.check import build_verdict, make_check

HOSTILE = '"><script>window.hit=1</script><img src=http://evil.example/x.png onerror="window.hit=1"> {{ 7 * 7 }} ‮'
SITE = {
    "site": "siteB", "title": "Hospital of the long Name, City", "scanners": [
        {"id": "ge2", "manufacturer": "GE", "model": "DISCOVERY MR750", "serial": "47200", "field_strength": 3}
    ],
}  # fmt: skip
PROTOCOL = {
    "protocol": "brain", "title": "Brain relaxometry at 3 T",
    "phantom": [{"id": "bias", "statistic": "max_abs_percent_bias", "maximum": 15.0}],
}  # fmt: skip
TRIED = {
    "series_received": 212, "series_used": 204, "series_quarantined": 3, "series_ignored": 5, "rows_left_out": 9,
    "acquisitions": 34, "participants": 6, "sessions": 11, "phantom_sessions": 2,
    "software": ["27\\LX\\MR Software release:DV26.0_R05"], "isocenter": "0.1.0",
    "consoles": [["GE", ""], ["Siemens", "the Prisma of siteB, VE11E, 2026-05-02"]],
}  # fmt: skip


def make_checks(n_wrong: int, text: str = "") -> list:
    """Checks of every group, `n_wrong` of which do not hold; `text` stands wherever a header's text could."""
    groups = ("intake", "completeness", "sequences", "protocol", "geometry", "headers", "phantom", "shim")
    checks = []
    for number in range(n_wrong + 90):
        checks.append(
            make_check(
                number >= n_wrong, severity="fail" if number < 2 else "warn", id=f"check_{number}",
                group=groups[number % len(groups)], scope=f"sub-T{number % 6:02d} ses-01 run-1 IRT1 {text}".strip(),
                parameter=text or "Receiver Bandwidth (± kHz)", expected=text or "at least 200 Hz/px",
                found=text or "130 Hz/px", console_expected="" if text else "at least ±25.6 kHz",
                console_found="" if text else "±16.6 kHz", unit="Hz/px",
                remedy=text or 'Set "Receiver Bandwidth (± kHz)" (Scan Timing) to ±29.4 kHz or the next step, '
                "and keep it the same in all series of the protocol and in the phantom's",
            )
        )  # fmt: skip
    return checks


def make_answer(n_wrong: int, text: str = "") -> dict:
    """What ``verdict.json`` would hold."""
    site = {**SITE, "title": text, "site": "siteB"} if text else SITE
    tried = {**TRIED, "software": [text], "consoles": [["GE", text]]} if text else TRIED
    accepted = [
        {"series": "MESE", "check": "repetition_time", "bounds": {"minimum": 1.9}, "reason": text or "SAR limit"}
    ]
    return build_verdict(site, PROTOCOL, make_checks(n_wrong, text), tried, accepted)


def make_history(n: int, text: str = "") -> list[dict]:
    """Verdicts a month apart, the last one now."""
    words = ("fail", "warn", "pass")
    return [
        {"number": k + 1, "date": text or f"2026-{k % 12 + 1:02d}-03T10:00:00+00:00", "verdict": text or words[k % 3],
         "counts": {"fail": k, "warn": 2, "pass": 90}, "changes": [text or "bias (warn)"]}
        for k in range(n)
    ]  # fmt: skip


def make_vials(text: str = "") -> list[dict]:
    """Two sessions of 14 vials, T1 and T2."""
    rng = np.random.default_rng(1)
    rows = []
    for biomarker, longest in (("T1", 1.9), ("T2", 0.58)):
        for session in ("01", "02"):
            for vial in range(1, 15):
                reference = longest / np.sqrt(2.0) ** (vial - 1)
                measured = reference * (1.04 + 0.01 * rng.standard_normal())
                rows.append(
                    {"session": session, "vial": text or vial, "biomarker": text or biomarker, "reference": reference,
                     "measured": measured, "stderr": 0.003 * measured, "unit": "s", "used": vial < 14}
                )  # fmt: skip
    return rows
