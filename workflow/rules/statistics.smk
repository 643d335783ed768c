# Statistics: one table of all measurements -> precision, agreement, bias, and the verdicts.


rule pool_measurements:
    input:
        rois=lambda wildcards: after_every_intake().per_run(layout.ROIS),
        run_exclusions=lambda wildcards: after_every_intake().per_run(
            layout.RUN_EXCLUSIONS
        ),
        intake_exclusions=expand(layout.INTAKE_EXCLUSIONS, site=PLAN.sites),
        scans=expand(layout.SCANS, site=PLAN.sites),
        vials=expand(layout.VIALS, site=PLAN.sites),
        participants=expand(layout.PARTICIPANTS, site=PLAN.sites),
    output:
        measurements=layout.MEASUREMENTS,
        exclusions=layout.EXCLUSIONS,
        flow=layout.FLOW,
        plausibility=layout.PLAUSIBILITY,
    log:
        f"{layout.LOGS}/pool_measurements.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("pool_measurements"),
        runtime=runtime("pool_measurements"),
    params:
        sites=PLAN.sites,
        schedule=PLAN.settings.config["schedule"],
        left_out={site: PLAN.settings.left_out(site) for site in PLAN.sites},
        suffixes={name: block["suffix"] for name, block in PLAN.biomarkers.items()},
        parameters={name: block["parameter"] for name, block in PLAN.biomarkers.items()},
        code=code_digest("pool_measurements"),
    message:
        "pool the measurements of {params.sites}"
    script:
        "../../scripts/pool_measurements.py"


rule compute_statistics:
    input:
        measurements=layout.MEASUREMENTS,
        exclusions=layout.EXCLUSIONS,
        vials=expand(layout.VIALS, site=PLAN.sites),
    output:
        **{name: layout.statistics_table(name) for name in layout.STATISTICS_TABLES},
        statistics=layout.STATISTICS,
    log:
        f"{layout.LOGS}/compute_statistics.log",
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        mem_mb=memory("compute_statistics"),
        runtime=runtime("compute_statistics"),
    params:
        claims=PLAN.settings.claims,
        biomarkers=PLAN.biomarkers,
        planned=PLAN.planned_runs(),
        seed=PLAN.settings.config["seed"],
        combat=PLAN.settings.config["combat"],
        code=code_digest("compute_statistics"),
    message:
        "statistics and verdicts"
    script:
        "../../scripts/compute_statistics.py"


rule export_statistics:
    input:
        measurements=layout.MEASUREMENTS,
        tables=[layout.statistics_table(name) for name in layout.STATISTICS_TABLES],
    output:
        transport=directory(layout.TRANSPORT),
        r_script=layout.R_SCRIPT,
    log:
        f"{layout.LOGS}/export_statistics.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("export_statistics"),
        runtime=runtime("export_statistics"),
    params:
        code=code_digest("export_statistics"),
    message:
        "SAS transport files and the R script"
    script:
        "../../scripts/export_statistics.py"
