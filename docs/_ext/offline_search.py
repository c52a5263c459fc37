"""Excerpts in the search results of pages that are opened from disk.

The search of Sphinx fetches each page that it found to show an excerpt, which browsers refuse for ``file:`` addresses.
The texts of all pages are therefore written to a script of the search page, which answers in place of the network.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FILE = "_static/search_texts.js"

ANSWER = """
if (location.protocol === "file:") {
  window.fetch = async (address) => {
    const name = String(address).replace(/^\\.\\//, "").replace(/\\.html$/, "");
    return new Response(`<div role="main">${SEARCH_TEXTS[name] || ""}</div>`);
  };
}
"""


def write_texts(app: Sphinx, failure: Exception | None) -> None:
    """Write the script once the pages are built."""
    if failure is not None or app.builder.format != "html":
        return
    texts = {
        name: html.escape(" ".join(app.env.get_doctree(name).astext().split()), quote=False)
        for name in sorted(app.env.found_docs)
    }
    path = Path(app.outdir) / FILE
    path.write_text(f"const SEARCH_TEXTS = {json.dumps(texts, ensure_ascii=False)};{ANSWER}", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", write_texts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
