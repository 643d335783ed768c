# Onboard: protocol, geometry, completeness, phantom and shim checks -> one verdict a site, with what to change.
# Needs  the site's intake, sidecars, vials, calibrations, control charts, shim figures
# Gives  onboarding/verdict.json, index.html (the certificate, one page when printed), history.jsonl (only grows)


rule check_site:
    input:
        site=layout.SITE_YAML,
        participants=layout.PARTICIPANTS,
        scans=layout.SCANS,
        intake_exclusions=layout.INTAKE_EXCLUSIONS,
        vials=layout.VIALS,
        control=layout.CONTROL,
        shims=lambda wildcards: after_intake(wildcards).shim_files(wildcards.site),
        calibrations=lambda wildcards: PLAN.site_calibrations(wildcards.site),
        protocol=PLAN.settings.config["files"]["protocol"],
        consoles=PLAN.consoles_file(),
        differences=lambda wildcards: PLAN.differences_file(wildcards.site),
    output:
        verdict=layout.VERDICT,
        certificate=layout.CERTIFICATE,
        history=update(layout.VERDICT_HISTORY),
    log:
        f"{layout.LOGS}/check_site/{{site}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("check_site"),
        runtime=runtime("check_site"),
    params:
        schedule=PLAN.settings.config["schedule"],
        bids=lambda wildcards: str(layout.fill(layout.BIDS, site=wildcards.site)),
        trial=PLAN.settings.config["trial"],
        code=code_digest("check_site"),
    message:
        "onboarding verdict of {wildcards.site}"
    script:
        "../../scripts/check_site.py"
