# Register: the volumes of one series onto its reference volume, with a motion table. One job a series.


rule align_series:
    input:
        series=lambda wildcards: after_intake(wildcards).raw_files(**wildcards),
    output:
        aligned=layout.ALIGNED,
        motion=layout.MOTION,
        figure=layout.MOTION_FIGURE,
    log:
        f"{layout.LOGS}/align_series/{{site}}/{layout.PREFIX}_{{suffix}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("align_series"),
        runtime=runtime("align_series"),
    params:
        model=lambda wildcards: PLAN.biomarker_of_suffix(wildcards.suffix)["model"],
        options=lambda wildcards: PLAN.biomarker_of_suffix(wildcards.suffix)["options"],
        method=lambda wildcards: PLAN.biomarker_of_suffix(wildcards.suffix)["align"],
        limit=lambda wildcards: PLAN.biomarker_of_suffix(wildcards.suffix)[
            "motion_limit"
        ],
        seed=PLAN.settings.config["seed"],
        code=lambda wildcards: code_digest(
            "align_series",
            models=(PLAN.biomarker_of_suffix(wildcards.suffix)["model"],),
        ),
    message:
        "align {wildcards.suffix} of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/align_series.py"
