"""Record what all results of one site were made with: code, config, environment, and what people wrote for the site.

The rule asks for every result of the site, so when the record is written all of them are up to date under what it says.
`isocenter pool` holds the records of sites that were run apart against one another.
"""

from isocenter import __version__
from isocenter.io.nifti import write_json
from isocenter.step import Ins, Out, run_step


def record_site(results: Ins, *, record: Out, site: str, digests: dict) -> None:
    """Write the record of one site.

    `results` are all of the site's results, which are not read; `digests` are SHA-256 by name: ``code``, ``config``,
    ``environment`` and ``site``.
    """
    write_json(record, {"site": site, "version": __version__, "n_results": len(results), "digests": digests})


if __name__ == "__main__":
    run_step(record_site, globals())
