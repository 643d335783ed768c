# Calibrate: vials of the phantom against their reference -> one curve a site and biomarker -> calibrated maps.


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
    output:
        vials=layout.PHANTOM_VIALS,
        picture=layout.PHANTOM_PICTURE,
    log:
        f"{layout.LOGS}/measure_vials/{{site}}/{layout.PREFIX}_{{map}}.log",
    conda:
        "../../environment.yml"
    params:
        biomarker=lambda wildcards: PLAN.biomarker_of_map(wildcards.map),
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
        code=code_digest("measure_vials"),
    message:
        "measure vials for {wildcards.map} of {wildcards.site} {wildcards.participant} {wildcards.session}"
    script:
        "../../scripts/measure_vials.py"


rule pool_vials:
    input:
        vials=lambda wildcards: after_intake(wildcards).vial_tables(wildcards.site),
    output:
        table=layout.VIALS,
    log:
        f"{layout.LOGS}/pool_vials/{{site}}.log",
    conda:
        "../../environment.yml"
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
    params:
        biomarker=lambda wildcards: wildcards.biomarker,
        unit=lambda wildcards: PLAN.biomarkers[wildcards.biomarker]["unit"],
        forms=lambda wildcards: PLAN.calibration_forms(wildcards.biomarker),
        dates=lambda wildcards: PLAN.calibration_dates(wildcards.biomarker),
        first_date=lambda wildcards: PLAN.first_phantom_date(wildcards.site),
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
    params:
        day=lambda wildcards: PLAN.calibration_day(wildcards),
        day_stderr=lambda wildcards: PLAN.calibration_day_stderr(wildcards),
        code=code_digest("calibrate_map"),
    message:
        "apply the calibration to {wildcards.map} of {wildcards.site} {wildcards.participant} {wildcards.session} run {wildcards.run}"
    script:
        "../../scripts/calibrate_map.py"
