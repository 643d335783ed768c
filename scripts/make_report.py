"""Write the trial's report: one folder of pages that opens from disk.

Tables, verdicts, calibrations and maps in; ``index.html``, a page a site, a metric and a session, methods, and every
table as page and TSV out. A file that cannot be read costs a line under Errors, never the report.
"""

from isocenter.lineage import trace_values
from isocenter.report.gather import read_trial
from isocenter.report.render import write_report
from isocenter.step import In, Ins, Out, run_step


def make_report(
    measurements: In,
    exclusions: In,
    flow: In,
    tables: Ins,
    vials: Ins = (),
    calibrations: Ins = (),
    verdicts: Ins = (),
    motions: Ins = (),
    maps: Ins = (),
    labels: Ins = (),
    pictures: Ins = (),
    controls: Ins = (),
    pages: Ins = (),
    pulses: Ins = (),
    shims: Ins = (),
    distortions: Ins = (),
    alignments: Ins = (),
    certificates: Ins = (),
    histories: Ins = (),
    scans: Ins = (),
    stderrs: Ins = (),
    flags: Ins = (),
    *,
    report: Out,
    settings: dict,
    threads: int = 1,
) -> None:
    """Read everything once, write every page, with `threads` processes.

    `settings` says what no table holds: ``trial`` (title), ``biomarkers``, ``claims``, ``sites`` (name to title),
    ``planned`` (site to runs), ``config_hash``, ``seed``, ``version``; where given, ``date``,
    ``versions`` (of tools) and ``phantom_rules`` (the protocol's limits for phantoms).
    """
    trial = read_trial(
        measurements,
        exclusions,
        flow,
        tables,
        vials,
        calibrations,
        verdicts,
        motions,
        maps,
        labels,
        pictures,
        settings,
        controls,
        pages,
        pulses,
        shims,
        distortions,
        alignments,
        certificates=certificates,
        histories=histories,
        scans=scans,
        stderrs=stderrs,
        flags=flags,
    )
    trial.lineage, lost = trace_values(measurements)
    trial.problems += lost
    write_report(trial, report, threads)


if __name__ == "__main__":
    run_step(make_report, globals())
