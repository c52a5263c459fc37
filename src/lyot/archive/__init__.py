"""Search and download of exposures in MAST, and of calibration references from a CRDS server.

>>> from lyot.archive import make_query, find, download
>>> listing = find(make_query(["1386"], filters=["F1550C"]))  # doctest: +SKIP
>>> download(listing.files, "uncal")  # doctest: +SKIP
"""

from lyot.archive.connection import Connection, connection_from_environment
from lyot.archive.download import Downloaded, download, to_fetch
from lyot.archive.mast import MastClient
from lyot.archive.records import ArchiveFile, Listing, Query, is_program, make_query
from lyot.archive.search import find

__all__ = [
    "ArchiveFile",
    "Connection",
    "Downloaded",
    "Listing",
    "MastClient",
    "Query",
    "connection_from_environment",
    "download",
    "find",
    "is_program",
    "make_query",
    "to_fetch",
]
