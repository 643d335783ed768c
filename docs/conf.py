"""How Sphinx makes the site: `make docs`. Nothing in a page asks the network for anything."""

import re
from pathlib import Path

import isocenter

REPOSITORY = Path(__file__).resolve().parents[1]

project = "Isocenter"
version = release = isocenter.__version__
copyright = "the authors of Isocenter; GPL-3.0-or-later"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Isocenter {release}"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"footer_icons": []}
myst_heading_anchors = 3
autodoc_typehints = "none"  # shapes and units stand in the text
#: Documents that live outside of docs/ and the page that holds each. Whoever reads the sources follows the plain link.
OUTSIDE = {
    "config/README.md": "reference/config.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "README.md": "index.md",
}
_DECISIONS = "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"
_LINK = re.compile(r"\[([^\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")


def lead_to_pages(app, docname, source):
    """Take in the documents from outside of docs/, and let links lead from page to page."""
    document = {page: document for document, page in OUTSIDE.items()}.get(f"{docname}.md", "")
    folder = (Path(app.srcdir) / docname).parent
    if document and docname != "index":  # the front page is docs/index.md itself
        source[0] = (REPOSITORY / document).read_text(encoding="utf-8")
        folder = (REPOSITORY / document).parent

    if docname == "decisions/README":  # a page of the site and of the checkout, which has no such lists
        source[0] += _DECISIONS

    def follow(link):
        text, target, anchor = link[1], (folder / link[2]).resolve(), link[3] or ""
        if not target.exists():
            return link[0]  # Sphinx will say so
        target = Path(app.srcdir, OUTSIDE.get(target.relative_to(REPOSITORY).as_posix(), target))
        if not target.is_relative_to(app.srcdir):
            return text  # a file of the checkout that is no page
        return f"[{text}](/{target.relative_to(app.srcdir)}{anchor})"

    source[0] = _LINK.sub(follow, source[0])
    if docname == "decisions/README":  # its table is the contents that a reader sees
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


def setup(app):
    """Sphinx calls it."""
    app.connect("source-read", lead_to_pages)
