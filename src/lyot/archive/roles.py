"""Roles of the files of a listing, determined from the archive's metadata as those of files are from their headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lyot.archive.records import ArchiveFile, Listing
from lyot.errors import InputError
from lyot.exposures.roles import Assigned, Role, choose_filter, sort_roles, with_role


def assign_roles(listing: Listing, out: Path) -> list[tuple[Assigned, ArchiveFile]]:
    """Role of each file of a listing.

    Parameters
    ----------
    listing : Listing
    out : Path
        Folder of the files, once they are fetched.

    Returns
    -------
    list of (Assigned, ArchiveFile)
        In the order of `lyot.exposures.roles.sort_roles`.
    """
    exposures = [
        replace(
            file.exposure, path=(out / file.name).absolute(), root=file.root, stage=listing.query.level, size=file.size
        )
        for file in listing.files
    ]
    by_root = {file.root: file for file in listing.files}
    return [(assigned, by_root[assigned.exposure.root]) for assigned in sort_roles(exposures)]


def check_one_sequence(assigned: Sequence[Assigned]) -> None:
    """Raise `InputError` if exposures are of more than one filter or science target."""
    chosen = choose_filter(assigned, None)
    targets = sorted({a.exposure.target for a in with_role(chosen, Role.SCIENCE)})
    if len(targets) > 1:
        raise InputError(f"there are several science targets, {', '.join(targets)}; choose one with --target.")
