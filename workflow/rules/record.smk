# Record: what all results of one site were made with, written when the last of them is there.
# Needs  everything of the site that tables and report are made from
# Gives  record.json, by which `isocenter pool` tells whether sites belong together


rule record_site:
    input:
        results=lambda wildcards: after_intake(wildcards).site_results(wildcards.site),
    output:
        record=layout.SITE_RECORD,
    log:
        f"{layout.LOGS}/record_site/{{site}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("record_site"),
        runtime=runtime("record_site"),
    params:
        site=lambda wildcards: wildcards.site,
        digests=lambda wildcards: site_digests(Path.cwd(), wildcards.site),
        code=code_digest("record_site"),
    message:
        "record what the results of {wildcards.site} were made with"
    script:
        "../../scripts/record_site.py"
