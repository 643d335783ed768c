# Fields: what a map of B0 says of the magnet.


rule measure_shim:
    input:
        map=layout.MAP,
        stderr=layout.MAP_STDERR,
        flag=layout.MAP_FLAG,
    output:
        shim=layout.SHIM,
    log:
        f"{layout.LOGS}/measure_shim/{{site}}/{layout.PREFIX}_{{map}}.log",
    conda:
        "../../environment.yml"
    params:
        biomarker=lambda wildcards: PLAN.biomarker_of_map(wildcards.map),
        participant_id=lambda wildcards: wildcards.participant,
        kind=lambda wildcards: PLAN.kind(wildcards),
        session=lambda wildcards: wildcards.session,
        run=lambda wildcards: wildcards.run,
        scanner=lambda wildcards: PLAN.scanner(wildcards),
        code=code_digest("measure_shim"),
    message:
        "shim of {wildcards.map} of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/measure_shim.py"
