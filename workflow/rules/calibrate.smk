# Calibrate: vials of the phantom against their reference -> one curve a site and biomarker -> calibrated maps.
# Before that, where a biomarker says `pulses: phantom`: the pulses of its echo trains, which every fit of the site takes.


rule choose_pulses:
    input:
        series=lambda wildcards: after_intake(wildcards).train_files(
            wildcards.site, wildcards.biomarker
        ),
        phantoms=lambda wildcards: after_intake(wildcards).train_definitions(
            wildcards.site, wildcards.biomarker
        ),
        geometry=lambda wildcards: after_intake(wildcards).train_geometry(
            wildcards.site, wildcards.biomarker
        ),
        regions=lambda wildcards: after_intake(wildcards).train_regions(
            wildcards.site, wildcards.biomarker
        ),
    output:
        pulses=layout.PULSES,
        trains=layout.TRAINS,
    log:
        f"{layout.LOGS}/choose_pulses/{{site}}/{{biomarker}}.log",
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        mem_mb=memory("choose_pulses"),
        runtime=runtime("choose_pulses"),
    params:
        biomarker=lambda wildcards: wildcards.biomarker,
        quantity=lambda wildcards: PLAN.biomarkers[wildcards.biomarker]["parameter"],
        scans=lambda wildcards: PLAN.describe_trains(
            wildcards.site, wildcards.biomarker
        ),
        code=lambda wildcards: code_digest(
            "choose_pulses", models=(PLAN.biomarkers[wildcards.biomarker]["model"],)
        ),
    message:
        "choose the pulses of {wildcards.biomarker} at {wildcards.site}"
    script:
        "../../scripts/choose_pulses.py"


rule measure_vials:
    input:
        series=lambda wildcards: after_intake(wildcards).phantom_series(wildcards),
        map=layout.MAP,
        stderr=layout.MAP_STDERR,
        flag=layout.MAP_FLAG,
        fit=layout.FIT,
        phantom=lambda wildcards: PLAN.phantom_definition(
            wildcards.site, wildcards.participant
        ),
        geometry=lambda wildcards: after_intake(wildcards).geometry_scans(wildcards),
        regions=lambda wildcards: after_intake(wildcards).hand_regions(
            wildcards, PLAN.block_of_map(wildcards.map)["suffix"]
        ),
        trains=lambda wildcards: after_intake(wildcards).vial_trains(wildcards),
    output:
        vials=layout.PHANTOM_VIALS,
        picture=layout.PHANTOM_PICTURE,
        record=layout.PHANTOM_RECORD,
    log:
        f"{layout.LOGS}/measure_vials/{{site}}/{layout.PREFIX}_{{map}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("measure_vials"),
        runtime=runtime("measure_vials"),
    params:
        biomarker=lambda wildcards: PLAN.biomarker_of_map(wildcards.map),
        quantity=lambda wildcards: PLAN.block_of_map(wildcards.map)["parameter"],
        unit=lambda wildcards: PLAN.block_of_map(wildcards.map)["unit"],
        serial=lambda wildcards: PLAN.phantom(wildcards.site, wildcards.participant)[
            "serial"
        ],
        temperature=lambda wildcards: PLAN.temperature(wildcards),
        temperature_stderr=lambda wildcards: PLAN.phantom(
            wildcards.site, wildcards.participant
        )["temperature_stderr"],
        thermometer_stderr=lambda wildcards: PLAN.thermometer_stderr(
            wildcards.site, wildcards.participant
        ),
        field_strength=lambda wildcards: PLAN.field_strength(wildcards),
        session=lambda wildcards: wildcards.session,
        date=lambda wildcards: PLAN.date(wildcards),
        scan=lambda wildcards: layout.PREFIX.format(**wildcards),
        run=lambda wildcards: wildcards.run,
        title=lambda wildcards: PLAN.block_of_map(wildcards.map)["title"],
        model=lambda wildcards: PLAN.curve_model(wildcards.map),
        options=lambda wildcards: PLAN.block_of_map(wildcards.map)["options"],
        inversion=lambda wildcards: PLAN.block_of_map(wildcards.map)[
            "phantom_inversion"
        ],
        scanner=lambda wildcards: PLAN.scanner(wildcards),
        code=lambda wildcards: code_digest(
            "measure_vials", models=(PLAN.block_of_map(wildcards.map)["model"],)
        ),
    message:
        "measure vials for {wildcards.map} of {wildcards.site} {wildcards.participant} {wildcards.session}"
    script:
        "../../scripts/measure_vials.py"


rule make_phantom_page:
    input:
        records=lambda wildcards: after_intake(wildcards).session_files(
            wildcards, layout.PHANTOM_RECORD
        ),
        vials=lambda wildcards: after_intake(wildcards).session_files(
            wildcards, layout.PHANTOM_VIALS
        ),
        pictures=lambda wildcards: after_intake(wildcards).session_files(
            wildcards, layout.PHANTOM_PICTURE
        ),
    output:
        page=layout.PHANTOM_PAGE,
    log:
        f"{layout.LOGS}/make_phantom_page/{{site}}/{layout.PREFIX}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("make_phantom_page"),
        runtime=runtime("make_phantom_page"),
    params:
        site=lambda wildcards: wildcards.site,
        participant=lambda wildcards: wildcards.participant,
        session=lambda wildcards: wildcards.session,
        forms=lambda wildcards: PLAN.session_forms(wildcards),
        scans=lambda wildcards: PLAN.session_scans(wildcards),
        code=code_digest("make_phantom_page"),
    message:
        "page of the phantom session {wildcards.session} of {wildcards.site}"
    script:
        "../../scripts/make_phantom_page.py"


rule pool_vials:
    input:
        vials=lambda wildcards: after_intake(wildcards).vial_tables(wildcards.site),
    output:
        table=layout.VIALS,
    log:
        f"{layout.LOGS}/pool_vials/{{site}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("pool_vials"),
        runtime=runtime("pool_vials"),
    params:
        code=code_digest("pool_vials"),
    message:
        "pool the vials of {wildcards.site}"
    script:
        "../../scripts/pool_vials.py"


rule chart_control:
    input:
        vials=layout.VIALS,
        scans=layout.SCANS,
        site=layout.SITE_YAML,
    output:
        control=layout.CONTROL,
    log:
        f"{layout.LOGS}/chart_control/{{site}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("chart_control"),
        runtime=runtime("chart_control"),
    params:
        code=code_digest("chart_control"),
    message:
        "control charts of {wildcards.site}"
    script:
        "../../scripts/chart_control.py"


rule fit_calibration:
    input:
        vials=lambda wildcards: after_intake(wildcards).vial_tables(
            wildcards.site, [wildcards.biomarker]
        ),
    output:
        calibration=layout.CALIBRATION,
    log:
        f"{layout.LOGS}/fit_calibration/{{site}}/{{biomarker}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("fit_calibration"),
        runtime=runtime("fit_calibration"),
    params:
        biomarker=lambda wildcards: wildcards.biomarker,
        unit=lambda wildcards: PLAN.biomarkers[wildcards.biomarker]["unit"],
        forms=lambda wildcards: PLAN.calibration_forms(wildcards.biomarker),
        dates=lambda wildcards: PLAN.calibration_dates(wildcards.biomarker),
        first_date=lambda wildcards: PLAN.first_phantom_date(wildcards.site),
        scanners=lambda wildcards: PLAN.site_scanners(wildcards.site),
        code=code_digest("fit_calibration"),
    message:
        "calibrate {wildcards.biomarker} at {wildcards.site}"
    script:
        "../../scripts/fit_calibration.py"


rule calibrate_map:
    input:
        map=layout.MAP,
        stderr=layout.MAP_STDERR,
        flag=layout.MAP_FLAG,
        calibration=lambda wildcards: str(
            layout.fill(
                layout.CALIBRATION,
                site=wildcards.site,
                biomarker=after_intake(wildcards).biomarker_of_map(wildcards.map),
            )
        ),
    output:
        calibrated=layout.CALIBRATED,
        calibrated_stderr=layout.CALIBRATED_STDERR,
        calibrated_flag=layout.CALIBRATED_FLAG,
    log:
        f"{layout.LOGS}/calibrate_map/{{site}}/{layout.PREFIX}_{{map}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("calibrate_map"),
        runtime=runtime("calibrate_map"),
    params:
        day=lambda wildcards: PLAN.calibration_day(wildcards),
        day_stderr=lambda wildcards: PLAN.calibration_day_stderr(wildcards),
        scanner=lambda wildcards: PLAN.scanner(wildcards),
        code=code_digest("calibrate_map"),
    message:
        "apply the calibration to {wildcards.map} of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/calibrate_map.py"
