# Map: one aligned series -> one parameter map with standard error and flags.


rule fit_map:
    input:
        series=lambda wildcards: after_intake(wildcards).series_to_fit(wildcards),
    output:
        map=layout.MAP,
        stderr=layout.MAP_STDERR,
        flag=layout.MAP_FLAG,
        fit=layout.FIT,
    log:
        f"{layout.LOGS}/fit_map/{{site}}/{layout.PREFIX}_{{map}}.log",
    conda:
        "../../environment.yml"
    threads: 1
    params:
        model=lambda wildcards: PLAN.block_of_map(wildcards.map)["model"],
        parameter=lambda wildcards: PLAN.block_of_map(wildcards.map)["parameter"],
        unit=lambda wildcards: PLAN.block_of_map(wildcards.map)["unit"],
        options=lambda wildcards: PLAN.block_of_map(wildcards.map)["options"],
        plausible_range=lambda wildcards: PLAN.block_of_map(wildcards.map)[
            "plausible_range"
        ],
        code=lambda wildcards: code_digest(
            "fit_map", models=(PLAN.block_of_map(wildcards.map)["model"],)
        ),
    message:
        "fit {wildcards.map} of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/fit_map.py"
