# Regions: the template's labels come to each run's maps; every region becomes one row.


rule make_template:
    output:
        template=directory(layout.TEMPLATE),
    log:
        f"{layout.LOGS}/make_template.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("make_template"),
        runtime=runtime("make_template"),
    params:
        code=code_digest("make_template"),
    message:
        "prepare the template and its tissue maps"
    script:
        "../../scripts/make_template.py"


rule transfer_labels:
    input:
        template=layout.TEMPLATE,
        maps=lambda wildcards: after_intake(wildcards).run_maps(wildcards, layout.MAP),
        fits=lambda wildcards: after_intake(wildcards).run_maps(wildcards, layout.FIT),
        sent=lambda wildcards: after_intake(wildcards).sent_regions(wildcards),
        atlas=PLAN.atlas(),
        structural=lambda wildcards: after_intake(wildcards).structural(wildcards),
    output:
        labels=directory(layout.LABELS),
    log:
        f"{layout.LOGS}/transfer_labels/{{site}}/{layout.PREFIX}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("transfer_labels"),
        runtime=runtime("transfer_labels"),
    params:
        seed=PLAN.settings.config["seed"],
        regions=lambda wildcards: PLAN.run_regions(wildcards),
        brain=PLAN.settings.config["regions"]["brain"],
        code=code_digest("transfer_labels"),
    message:
        "label the regions of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/transfer_labels.py"


rule extract_rois:
    input:
        maps=lambda wildcards: after_intake(wildcards).run_maps(wildcards, layout.MAP),
        stderrs=lambda wildcards: after_intake(wildcards).run_maps(
            wildcards, layout.MAP_STDERR
        ),
        flags=lambda wildcards: after_intake(wildcards).run_maps(
            wildcards, layout.MAP_FLAG
        ),
        labels=layout.LABELS,
        calibrations=lambda wildcards: after_intake(wildcards).run_calibrations(
            wildcards
        ),
        gradients=lambda wildcards: after_intake(wildcards).run_gradients(wildcards),
    output:
        table=layout.ROIS,
        exclusions=layout.RUN_EXCLUSIONS,
    log:
        f"{layout.LOGS}/extract_rois/{{site}}/{layout.PREFIX}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("extract_rois"),
        runtime=runtime("extract_rois"),
    params:
        biomarkers=lambda wildcards: PLAN.run_biomarkers(wildcards),
        rois=lambda wildcards: {
            name: PLAN.biomarkers[name]["rois"]
            for name in PLAN.run_biomarkers(wildcards)
        },
        statistics=lambda wildcards: {
            name: PLAN.biomarkers[name]["roi_statistic"]
            for name in PLAN.run_biomarkers(wildcards)
        },
        site=lambda wildcards: wildcards.site,
        scanner=lambda wildcards: PLAN.scanner(wildcards),
        participant_id=lambda wildcards: wildcards.participant,
        kind=lambda wildcards: PLAN.kind(wildcards),
        session=lambda wildcards: wildcards.session,
        run=lambda wildcards: wildcards.run,
        field_strength=lambda wildcards: PLAN.field_strength(wildcards),
        day=lambda wildcards: PLAN.calibration_day(wildcards),
        day_stderr=lambda wildcards: PLAN.calibration_day_stderr(wildcards),
        code=code_digest("extract_rois"),
    message:
        "measure the regions of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/extract_rois.py"
