# Register: the volumes of one series onto its reference volume, with a motion table. One job a series.


rule align_series:
    input:
        series=lambda wildcards: after_intake(wildcards).raw_files(**wildcards),
    output:
        aligned=layout.ALIGNED,
        motion=layout.MOTION,
    log:
        f"{layout.LOGS}/align_series/{{site}}/{layout.PREFIX}_{{suffix}}.log",
    conda:
        "../../environment.yml"
    params:
        model=lambda wildcards: PLAN.biomarker_of_suffix(wildcards.suffix)["model"],
        method=lambda wildcards: PLAN.biomarker_of_suffix(wildcards.suffix)["align"],
        seed=PLAN.settings.config["seed"],
        code=lambda wildcards: code_digest(
            "align_series",
            models=(PLAN.biomarker_of_suffix(wildcards.suffix)["model"],),
        ),
    message:
        "align {wildcards.suffix} of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/align_series.py"
