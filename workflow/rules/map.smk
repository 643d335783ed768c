# Map: one aligned series, and the maps that other biomarkers lend -> one parameter map with standard error and flags.


rule place_map:
    input:
        series=lambda wildcards: after_intake(wildcards).series_to_fit(wildcards),
        scan=lambda wildcards: after_intake(wildcards).lending_scan(wildcards),
    output:
        placement=layout.PLACEMENT,
    log:
        f"{layout.LOGS}/place_map/{{site}}/{layout.PREFIX}_from-{{lender}}_to-{{map}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("place_map"),
        runtime=runtime("place_map"),
    params:
        seed=PLAN.settings.config["seed"],
        code=code_digest("place_map"),
    message:
        "place {wildcards.lender} on the series of {wildcards.map} of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/place_map.py"


rule fit_map:
    input:
        series=lambda wildcards: after_intake(wildcards).series_to_fit(wildcards),
        lent=lambda wildcards: after_intake(wildcards).lent_maps(wildcards, layout.MAP),
        lent_stderrs=lambda wildcards: after_intake(wildcards).lent_maps(
            wildcards, layout.MAP_STDERR
        ),
        lent_flags=lambda wildcards: after_intake(wildcards).lent_maps(
            wildcards, layout.MAP_FLAG
        ),
        placements=lambda wildcards: after_intake(wildcards).placements(wildcards),
        pulses=lambda wildcards: after_intake(wildcards).pulses(wildcards),
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
    resources:
        mem_mb=memory("fit_map"),
        runtime=runtime("fit_map"),
    params:
        model=lambda wildcards: PLAN.block_of_map(wildcards.map)["model"],
        parameter=lambda wildcards: PLAN.block_of_map(wildcards.map)["parameter"],
        unit=lambda wildcards: PLAN.block_of_map(wildcards.map)["unit"],
        options=lambda wildcards: PLAN.fit_options(wildcards),
        plausible_range=lambda wildcards: PLAN.block_of_map(wildcards.map)[
            "plausible_range"
        ],
        uses_maps=lambda wildcards: PLAN.used_maps(wildcards.map),
        scanner=lambda wildcards: PLAN.scanner(wildcards),
        code=lambda wildcards: code_digest(
            "fit_map", models=(PLAN.block_of_map(wildcards.map)["model"],)
        ),
    message:
        "fit {wildcards.map} of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/fit_map.py"
