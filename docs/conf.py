"""Configuration of the documentation; ``make docs`` builds it with warnings as errors."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from lyot.version import __version__

log = logging.getLogger(__name__)

project = "Lyot"
author = "The Lyot developers"
copyright = "The Lyot developers"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "lyot_reference",
    "offline_search",
]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build", "_ext", "_templates", "Thumbs.db", ".DS_Store"]
templates_path = ["_templates"]
default_role = "autolink"
smartquotes = False  # options begin with two hyphens
highlight_language = "text"
nitpicky = False

# Text
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist", "attrs_inline"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # notebooks begin new cells with headings of any level

# Notebooks are executed by `make tutorials`; what it leaves is rendered as it is
nb_execution_mode = "off"
nb_merge_streams = True

# Code
autosummary_imported_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give type, shape and unit
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_use_plots = False
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

# Other projects
INVENTORIES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "astropy": "https://docs.astropy.org/en/stable/",
    "jwst": "https://jwst-pipeline.readthedocs.io/en/stable/",
    "stpipe": "https://stpipe.readthedocs.io/en/latest/",
}
intersphinx_timeout = 10


def reachable(address: str) -> bool:
    """Whether the inventory of another project can be had; without a network links to it are plain text."""
    request = urllib.request.Request(address + "objects.inv", method="HEAD", headers={"User-Agent": "Sphinx"})
    try:
        with urllib.request.urlopen(request, timeout=3):
            return True
    except (OSError, ValueError):
        return False


intersphinx_mapping = {name: (address, None) for name, address in INVENTORIES.items() if reachable(address)}
if missing := sorted(set(INVENTORIES) - set(intersphinx_mapping)):
    log.info("no links to %s: their inventories cannot be reached", ", ".join(missing))

# Pages
html_theme = "pydata_sphinx_theme"
html_title = f"Lyot {version}"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["lyot.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "start/index": []}
html_theme_options = {
    "logo": {"text": "Lyot", "alt_text": "Lyot: home"},
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navigation_depth": 3,
    "show_nav_level": 1,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "back_to_top_button": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
mathjax3_config = {"options": {"enableMenu": False}}
