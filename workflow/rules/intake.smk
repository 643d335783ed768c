# Intake: any tree of DICOM files -> a site's qMRI-BIDS root and a row for every series.
# Needs  sites/<site>/site.yaml, participants.tsv, the DICOM folder
# Gives  intake/scans.tsv (which series there are: all later jobs are planned from it), bids/


checkpoint index_site:
    input:
        site=layout.SITE_YAML,
        participants=layout.PARTICIPANTS,
        sessions=lambda wildcards: PLAN.sessions_file(wildcards.site),
    output:
        scans=layout.SCANS,
        exclusions=layout.INTAKE_EXCLUSIONS,
        index=update(layout.INTAKE_INDEX),
    log:
        f"{layout.LOGS}/index_site/{{site}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory("index_site"),
        runtime=runtime("index_site"),
    params:
        bids=layout.BIDS,
        source=lambda wildcards: str(PLAN.source(wildcards.site)),
        suffixes=sorted(PLAN.suffixes),
        dates=PLAN.settings.config["dates"],
        by_date=PLAN.calibrates_by_date(),
        tree=lambda wildcards: tree_digest(PLAN.source(wildcards.site)),
        code=code_digest("index_site"),
    message:
        "intake of {wildcards.site}"
    script:
        "../../scripts/index_site.py"


# Sites whose series are known in this process. Snakemake answers each question about a checkpoint from the outputs of
# all sites, and asks several times a job; what it has said once stays true.
TAKEN_IN = set()


def after_intake(wildcards):
    """Wait until the site's series are known; nothing about them can be planned before."""
    wait_for_intake(wildcards.site)
    return PLAN


def after_every_intake():
    """Wait until the series of every site are known."""
    for site in PLAN.sites:
        wait_for_intake(site)
    return PLAN


def wait_for_intake(site):
    if site not in TAKEN_IN:
        checkpoints.index_site.get(site=site)
        TAKEN_IN.add(site)
