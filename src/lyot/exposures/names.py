"""Names of targets: when two of them are the same star."""

from __future__ import annotations

import re

_BACKGROUND_WORD = re.compile(r"[-_ ]*(BACKGROUND|BCKGRND|BKGD|BKG|BGND|SKY)[-_ ]*\d*$", re.IGNORECASE)


def plain_name(name: str) -> str:
    """A target's name in capitals, without blanks, signs and a trailing word for background."""
    return re.sub(r"[^A-Z0-9]", "", _BACKGROUND_WORD.sub("", name.strip()).upper())
