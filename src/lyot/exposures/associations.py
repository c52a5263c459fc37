"""Associations: which exposures go into which product, as the JSON files that the official pipelines read.

The conventions are those of ``jwst.associations`` (rules `DMSLevel2bBase` and `DMS_Level3_Base`), written here without
importing it so that planning stays quick; the official loader reads and validates the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lyot.errors import InputError
from lyot.exposures.exposure import Exposure
from lyot.exposures.roles import Assigned, Role, with_role

ASSOCIATION_ID = "a3001"
"""The identifier that the official rules give to associations made by a user; it is part of the names of products."""


def _association(rule: str, kind: str, exposure: Exposure, products: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "asn_type": kind,
        "asn_rule": rule,
        "version_id": None,
        "degraded_status": "No known degraded exposures in association.",
        "program": exposure.program or "noprogram",
        "constraints": "Made by lyot from the headers of the exposures.",
        "asn_id": ASSOCIATION_ID,
        "target": exposure.target,
        "asn_pool": "none",
        "products": products,
    }


def _member(path: str | Path, kind: str) -> dict[str, str]:
    return {"expname": str(path), "exptype": kind}


def level2(files: Sequence[Assigned], rateints: Sequence[Path], backgrounds: Sequence[Path]) -> dict[str, Any]:
    """Association of one star exposure with its own backgrounds.

    Parameters
    ----------
    files : sequence of Assigned
        The star exposure, science or reference: one file, or its segments.
    rateints : sequence of Path
        The slopes of each.
    backgrounds : sequence of Path
        Slopes of its backgrounds; may be empty.

    Returns
    -------
    dict
        A product with one science member for each file, as the official rule demands: several science members in one
        product would get their background wrong.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lyot.exposures import Assigned, Exposure, Role, level2
    >>> star = Assigned(Exposure(root="a", target="HIP-65426"), Role.SCIENCE)
    >>> association = level2([star], [Path("a_rateints.fits")], [Path("sky_rateints.fits")])
    >>> [(member["expname"], member["exptype"]) for member in association["products"][0]["members"]]
    [('a_rateints.fits', 'science'), ('sky_rateints.fits', 'background')]
    """
    background = [_member(b, "background") for b in backgrounds]
    products = [
        {"name": item.exposure.root, "members": [_member(path, "science"), *background]}
        for item, path in zip(files, rateints, strict=True)
    ]
    return _association("DMSLevel2bBase", "image2", files[0].exposure, products)


def target_slug(target: str) -> str:
    """A target's name as it is in names of files."""
    return re.sub(r"[^a-z0-9]+", "-", target.lower()).strip("-") or "target"


def product_name(science: Sequence[Exposure]) -> str:
    """Name of the stage 3 product, in the archive's manner: program, association, target, instrument, filter, mask."""
    first = science[0]
    target = target_slug(first.target)
    optics = "-".join(word.lower() for word in (first.filter, first.subarray) if word)
    return f"jw{first.program or '00000'}-{ASSOCIATION_ID}_{target}_{first.instrument.lower()}_{optics}"


def level3(group: Sequence[Assigned], calints: dict[str, Path]) -> dict[str, Any]:
    """Association of the science exposures of one target with its references.

    Parameters
    ----------
    group : sequence of Assigned
        Exposures of one configuration; backgrounds in it are passed over.
    calints : dict of str to Path
        Calibrated file of each exposure root.

    Returns
    -------
    dict
        The association as it is written to JSON.

    Raises
    ------
    InputError
        If there is no science exposure.

    Examples
    --------
    >>> from pathlib import Path
    >>> from lyot.exposures import Assigned, Exposure, Role, level3
    >>> science = Exposure(root="a", target="HIP-65426", program="01386", instrument="MIRI", filter="F1550C")
    >>> group = [Assigned(science, Role.SCIENCE), Assigned(Exposure(root="c"), Role.REFERENCE)]
    >>> product = level3(group, {"a": Path("a_calints.fits"), "c": Path("c_calints.fits")})["products"][0]
    >>> product["name"], [member["exptype"] for member in product["members"]]
    ('jw01386-a3001_hip-65426_miri_f1550c', ['science', 'psf'])
    """
    science = with_role(group, Role.SCIENCE)
    references = with_role(group, Role.REFERENCE)
    if not science:
        raise InputError("no science exposure to reduce; check the roles with lyot info.")
    members = [_member(calints[a.exposure.root], "science") for a in science]
    members += [_member(calints[a.exposure.root], "psf") for a in references]
    product = {"name": product_name([a.exposure for a in science]), "members": members}
    return _association("DMS_Level3_Base", "coron3", science[0].exposure, [product])


def dump(association: dict[str, Any]) -> str:
    """Association as JSON text."""
    return json.dumps(association, indent=4, allow_nan=False) + "\n"
