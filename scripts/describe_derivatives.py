"""Write what makes a site's derivatives a BIDS dataset: its description, links, participants, and what BIDS ignores.

Reads   the site's series
Writes  dataset_description.json, README, descriptions.tsv, participants.tsv, participants.json and .bidsignore
"""

from isocenter.export.dataset import describe_derivatives as describe
from isocenter.io.nifti import write_bytes
from isocenter.io.tables import read_table
from isocenter.step import In, Out, run_step


def describe_derivatives(
    scans: In,
    *,
    description: Out,
    readme: Out,
    descriptions: Out,
    participants: Out,
    participants_columns: Out,
    bidsignore: Out,
    site: str,
    maps: list,
) -> None:
    """Describe the derivatives of `site`; `maps` are the endings of its maps, of whom BIDS may know or not."""
    table = read_table(scans, text=("participant_id", "kind", "disposition"))
    used = table[table["disposition"] == "used"]
    files = describe(site, maps, dict(zip(used["participant_id"], used["kind"], strict=True)))
    for path in (description, readme, descriptions, participants, participants_columns, bidsignore):
        write_bytes(path, files[path.name].encode())


if __name__ == "__main__":
    run_step(describe_derivatives, globals())
