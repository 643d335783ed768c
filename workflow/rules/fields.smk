# Fields: what a map of B0 says of the magnet, echo-planar series corrected by it, decays marked by it.


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
    resources:
        mem_mb=memory("measure_shim"),
        runtime=runtime("measure_shim"),
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


rule correct_distortion:
    input:
        series=lambda wildcards: after_intake(wildcards).raw_files(**wildcards),
        aligned=lambda wildcards: after_intake(wildcards).series_before_correction(
            wildcards
        ),
        field=lambda wildcards: after_intake(wildcards).correcting_field(
            wildcards, layout.MAP
        ),
        field_stderr=lambda wildcards: after_intake(wildcards).correcting_field(
            wildcards, layout.MAP_STDERR
        ),
        field_flag=lambda wildcards: after_intake(wildcards).correcting_field(
            wildcards, layout.MAP_FLAG
        ),
        magnitude=lambda wildcards: after_intake(wildcards).correcting_magnitudes(
            wildcards
        ),
    output:
        corrected=layout.UNDISTORTED,
        figure=layout.DISTORTION_FIGURE,
    log:
        f"{layout.LOGS}/correct_distortion/{{site}}/{layout.PREFIX}_{{suffix}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("correct_distortion"),
        runtime=runtime("correct_distortion"),
    params:
        map_name=lambda wildcards: PLAN.correcting_map(wildcards),
        missing=lambda wildcards: PLAN.why_uncorrected(wildcards),
        seed=PLAN.settings.config["seed"],
        code=code_digest("correct_distortion"),
    message:
        "correct the distortion of {wildcards.suffix} of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/correct_distortion.py"


rule mark_gradient:
    input:
        map=layout.MAP,
        stderr=layout.MAP_STDERR,
        flag=layout.MAP_FLAG,
        series=lambda wildcards: after_intake(wildcards).raw_files(
            wildcards.site,
            wildcards.participant,
            wildcards.session,
            wildcards.run,
            PLAN.block_of_map(wildcards.map)["suffix"],
        ),
        field=lambda wildcards: after_intake(wildcards).marking_field(
            wildcards, layout.MAP
        ),
        field_stderr=lambda wildcards: after_intake(wildcards).marking_field(
            wildcards, layout.MAP_STDERR
        ),
        field_flag=lambda wildcards: after_intake(wildcards).marking_field(
            wildcards, layout.MAP_FLAG
        ),
    output:
        gradient=layout.GRADIENT,
    log:
        f"{layout.LOGS}/mark_gradient/{{site}}/{layout.PREFIX}_{{map}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("mark_gradient"),
        runtime=runtime("mark_gradient"),
    params:
        map_name=lambda wildcards: PLAN.marking_map(wildcards),
        limit=lambda wildcards: PLAN.block_of_map(wildcards.map)["gradient_limit"],
        is_rate=lambda wildcards: PLAN.block_of_map(wildcards.map)["unit"] == "1/s",
        code=code_digest("mark_gradient"),
    message:
        "mark {wildcards.map} by the gradient of B0 of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/mark_gradient.py"
