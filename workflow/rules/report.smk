# Report: everything above as pages that open from disk.


rule make_report:
    input:
        measurements=layout.MEASUREMENTS,
        exclusions=layout.EXCLUSIONS,
        flow=layout.FLOW,
        tables=[layout.statistics_table(name) for name in layout.STATISTICS_TABLES]
        + [layout.PLAUSIBILITY],
        vials=expand(layout.VIALS, site=PLAN.sites),
        calibrations=lambda wildcards: PLAN.all_calibrations(),
        verdicts=expand(layout.VERDICT, site=PLAN.sites),
        motions=lambda wildcards: after_every_intake().per_aligned(layout.MOTION),
        maps=lambda wildcards: after_every_intake().report_maps(),
        labels=lambda wildcards: after_every_intake().per_run(layout.LABELS),
        controls=expand(layout.CONTROL, site=PLAN.sites),
        pictures=lambda wildcards: after_every_intake().phantom_pictures(),
        pages=lambda wildcards: after_every_intake().phantom_pages(),
        pulses=PLAN.all_pulses(),
        shims=lambda wildcards: after_every_intake().all_shims(),
        distortions=lambda wildcards: after_every_intake().per_corrected(
            layout.DISTORTION_FIGURE
        ),
        alignments=lambda wildcards: after_every_intake().per_aligned(
            layout.MOTION_FIGURE
        ),
        certificates=expand(layout.CERTIFICATE, site=PLAN.sites),
        histories=expand(layout.VERDICT_HISTORY, site=PLAN.sites),
        scans=expand(layout.SCANS, site=PLAN.sites),
        stderrs=lambda wildcards: after_every_intake().report_maps(
            layout.CALIBRATED_STDERR, layout.MAP_STDERR
        ),
        flags=lambda wildcards: after_every_intake().report_maps(
            layout.CALIBRATED_FLAG, layout.MAP_FLAG
        ),
    output:
        report=layout.REPORT,
    log:
        f"{layout.LOGS}/make_report.log",
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        mem_mb=memory("make_report"),
        runtime=runtime("make_report"),
    params:
        settings=PLAN.report_settings(),
        code=code_digest("make_report"),
    message:
        "write the report"
    script:
        "../../scripts/make_report.py"


rule describe_derivatives:
    input:
        scans=layout.SCANS,
    output:
        **layout.DERIVATIVES_TOP,
    log:
        f"{layout.LOGS}/describe_derivatives/{{site}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("describe_derivatives"),
        runtime=runtime("describe_derivatives"),
    params:
        site=lambda wildcards: wildcards.site,
        maps=[block["map"] for block in PLAN.biomarkers.values()],
        code=code_digest("describe_derivatives"),
    message:
        "describe the derivatives of {wildcards.site}"
    script:
        "../../scripts/describe_derivatives.py"
