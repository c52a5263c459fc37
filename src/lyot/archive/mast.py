"""Queries of MAST for exposures and their files, with astroquery's `MastMissions`.

The names of the columns are chosen among those that the archive lists, so that a renamed one is an error in one
sentence rather than an empty answer. Metadata are public: the token is not used here.
"""

from __future__ import annotations

import logging
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from lyot.archive.connection import (
    BUSY,
    Connection,
    connection_from_environment,
    limit_waiting,
    new_session,
    pause_before_retry,
)  # fmt: skip
from lyot.archive.records import ArchiveFile
from lyot.errors import ArchiveError
from lyot.exposures.exposure import ACQUISITION_TYPES, CORONAGRAPHIC_TYPES, Exposure, Stage

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGE: Final = 5000
"""Rows asked for at a time."""

_DATASETS_AT_ONCE = 500

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "dataset": ("fileSetName",),
    "instrument": ("instrume",),
    "exposure_type": ("exp_type",),
    "filter": ("filter",),
    "mask": ("miri_coronmsk", "nircam_coronmsk", "coronmsk"),
    "subarray": ("subarray",),
    "pupil": ("pupil", "nircam_pupil"),
    "target": ("targprop", "targname"),
    "program": ("program",),
    "observation": ("observtn",),
    "visit_group": ("visitgrp",),
    "is_psf": ("is_psf",),
    "is_background": ("bkgdtarg",),
    "pattern": ("patttype", "miri_patttype"),
    "roll": ("roll_ref", "pa_v3", "gs_v3_pa"),
    "n_integrations": ("nints",),
    "n_groups": ("ngroups",),
    "integration_time": ("effinttm",),
    "dither": ("patt_num",),
    "n_dithers": ("numdthpt",),
    "ra": ("targ_ra",),
    "dec": ("targ_dec",),
    "time": ("expstart", "date_beg", "date_obs"),
}
"""What is read of each exposure, and the archive's columns that may hold it, the best first."""

REQUIRED: Final = ("dataset", "exposure_type", "filter", "program", "target")
"""Fields without which exposures cannot be found and sorted."""

_EXPOSURE = re.compile(r"jw(\d{5})(\d{3})(\d{3})_(\d{2})\d{3}_\d{5}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.fits(\.gz)?")
_MJD_0 = datetime(1858, 11, 17)
_MISSING = ("", "--", "none", "null", "nan", "-999", "-999.0")


class MastClient:
    """Client for queries of JWST exposures in MAST.

    Parameters
    ----------
    connection : Connection, optional
        By default what the environment says.
    """

    def __init__(self, connection: Connection | None = None) -> None:
        from astroquery.mast import MastMissions

        self.connection = connection or connection_from_environment()
        server = self.connection.server
        self._missions = type(MastMissions)(mission="jwst")
        service = self._missions._service_api_connection
        service.SERVICE_URL = server
        service.MISSIONS_DOWNLOAD_URL = f"{server}/search/"
        self._missions.mission = "jwst"  # makes it take the server's address
        portal = self._missions._portal_api_connection
        portal.MAST_REQUEST_URL = f"{server}/api/v0/invoke"
        portal._column_configs["Mast.Name.Lookup"] = {}  # which spares it a question whose answer is not needed
        limit_waiting(self._missions._session, self.connection)
        self._types: dict[str, str] = {}

    def url(self, uri: str) -> str:
        """Address from which a file can be downloaded.

        Parameters
        ----------
        uri : str
            Name of the file in the archive (`ArchiveFile.uri`).

        Returns
        -------
        str
        """
        return f"{self.connection.server}/search/jwst/api/v0.1/retrieve_product?product_name={quote(uri, safe='')}"

    def columns(self) -> Mapping[str, str]:
        """Columns that can be queried, with their types; retrieved once.

        Returns
        -------
        mapping of str to str

        Raises
        ------
        ArchiveError
            If the archive does not answer, or lacks a column that is needed.
        """
        if not self._types:
            from astropy.table import Table

            rows = self._ask("the list of its columns", self._column_rows)
            names = {name for name, _, _ in rows}
            lacking = [FIELDS[f][0] for f in REQUIRED if not names & set(FIELDS[f])]
            if lacking:
                raise ArchiveError(
                    f"The archive at {self.connection.server} no longer has the column {', '.join(lacking)}; update "
                    "Lyot."
                )
            self._missions.columns["jwst"] = Table(rows=rows, names=("name", "data_type", "description"))
            self._types = {name: kind for name, kind, _ in rows}
        return self._types

    def exposures(self, *, at: tuple[float, float] | None = None, **conditions: Sequence[str]) -> list[Exposure]:
        """Coronagraphic exposures and target acquisitions that satisfy all conditions, from all pages.

        Parameters
        ----------
        at : (ra, dec), optional
            Only within half an arcminute of this position, degrees.
        **conditions : sequence of str
            Names of `FIELDS` with the values allowed; ``*`` stands for any characters.

        Returns
        -------
        list of Exposure
            By name; products of several exposures are not listed.

        Raises
        ------
        ArchiveError
            If the archive does not answer, or refuses.
        """
        known = self.columns()
        wanted = [c for names in FIELDS.values() for c in names if c in known]
        conditions.setdefault("exposure_type", (*CORONAGRAPHIC_TYPES, *ACQUISITION_TYPES))
        criteria: dict[str, Any] = {self._column(n): self._values(n, v) for n, v in conditions.items()}
        if at is not None:
            from astropy import units as u
            from astropy.coordinates import SkyCoord

            criteria |= {"coordinates": SkyCoord(*at, unit="deg"), "radius": 0.5 * u.arcmin}
        found: dict[str, Exposure] = {}
        offset = 0
        while True:
            page = self._ask("its exposures", self._page, wanted, criteria, offset)
            for row in _rows(page):
                exposure = _exposure(row)
                if exposure is not None:
                    found[exposure.root] = exposure
            offset += len(page)
            if len(page) < PAGE:
                break
        log.info("The archive lists %d exposures with %s", len(found), conditions)
        return [found[name] for name in sorted(found)]

    def files(self, exposures: Sequence[Exposure], level: Stage) -> tuple[list[ArchiveFile], list[Exposure]]:
        """Files of the exposures at one level, and the exposures that have none.

        Parameters
        ----------
        exposures : sequence of Exposure
            As listed by `exposures`.
        level : "uncal", "rateints" or "calints"
            Kind of product; of target acquisitions, which have one image, ``rate`` and ``cal``.

        Returns
        -------
        files : list of ArchiveFile
            By name.
        missing : list of Exposure
            Exposures without a file at this level.

        Raises
        ------
        ArchiveError
            If the archive does not answer, or names a file by something that is no file name.
        """
        by_dataset = {e.root: e for e in exposures}
        found: dict[str, ArchiveFile] = {}
        missing = list(by_dataset)
        for _ in range(2):  # the archive may leave some out of a long answer; those are asked for once more
            for start in range(0, len(missing), _DATASETS_AT_ONCE):
                some = missing[start : start + _DATASETS_AT_ONCE]
                for row in _rows(self._ask("its files", self._missions.get_product_list, some)):
                    file = _file(row, by_dataset, level)
                    if file is not None:
                        found[file.name] = file
            there = {f.exposure.root for f in found.values()}
            missing = [name for name in by_dataset if name not in there]
        return sorted(found.values(), key=lambda f: f.name), [by_dataset[name] for name in missing]

    def position(self, name: str) -> tuple[float, float] | None:
        """Sky position of an object by its name.

        Parameters
        ----------
        name : str
            As catalogs write it.

        Returns
        -------
        (float, float) or None
            Right ascension and declination, degrees; None if the name is not resolved.

        Raises
        ------
        ArchiveError
            If the archive does not answer.
        """
        return self._ask(f"the position of {name}", self._look_up, name)

    def _look_up(self, name: str) -> tuple[float, float] | None:
        answers = self._missions._portal_api_connection.service_request_async(
            "Mast.Name.Lookup", {"input": name, "format": "json"}
        )
        known = answers[0].json().get("resolvedCoordinate") or []
        return (float(known[0]["ra"]), float(known[0]["decl"])) if known else None

    def _column_rows(self) -> list[tuple[str, str, str]]:
        with new_session(self.connection) as session:
            address = f"{self.connection.server}/search/util/api/v0.1/column_list"
            response = session.get(address, params={"mission": "jwst"})
            response.raise_for_status()
            return [(c["column_name"], c["qual_type"], c.get("description") or "") for c in response.json()]

    def _page(self, columns: Sequence[str], criteria: Mapping[str, Any], offset: int) -> Table:
        return self._missions.query_criteria(
            select_cols=list(columns), limit=PAGE, offset=offset, sort_by=["fileSetName"], **criteria
        )

    def _column(self, field: str) -> str:
        known = self.columns()
        for name in FIELDS[field]:
            if name in known:
                return name
        raise ArchiveError(f"The archive at {self.connection.server} cannot be searched by {field.replace('_', ' ')}.")

    def _values(self, field: str, values: Sequence[str]) -> str:
        if field in ("program", "observation"):
            bare = [str(int(v)) for v in values]
            numeric = self.columns()[self._column(field)].lower().startswith(("int", "num", "float"))
            values = bare if numeric else [*bare, *(v for v in values if v not in bare)]
        return ",".join(values)

    def _ask(self, what: str, question: Callable[..., T], *args: Any) -> T:
        """Put a question, again if the archive is busy; make one sentence of the client's many errors."""
        import requests
        from astroquery.exceptions import InvalidQueryError, MaxResultsWarning, NoResultsWarning, RemoteServiceError
        from astroquery.exceptions import TimeoutError as AnswerTimeout

        server = self.connection.server
        attempt = 0
        while True:
            attempt += 1
            answer: requests.Response | None = None
            failure: Exception
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", MaxResultsWarning)
                    warnings.simplefilter("ignore", NoResultsWarning)
                    return question(*args)
            except requests.HTTPError as error:
                answer, failure = error.response, error
                state = answer.status_code if answer is not None else 500
                text = f"The archive at {server} returned status {state} to the query for {what}; try again later."
                if state not in BUSY:
                    raise ArchiveError(text) from error
            except InvalidQueryError as error:  # the client's word for 400 and 500
                failure, text = error, f"The archive at {server} could not process the query for {what}."
            except (requests.JSONDecodeError, ValueError, KeyError, TypeError, IndexError, RemoteServiceError) as error:
                raise ArchiveError(
                    f"The archive at {server} returned an unexpected response to the query for {what} "
                    f"({type(error).__name__}); try again later."
                ) from error
            except (requests.RequestException, AnswerTimeout) as error:
                failure = error
                text = f"The archive at {server} cannot be reached; check the network connection, or try again later."
            if attempt >= self.connection.tries:
                raise ArchiveError(text) from failure
            pause = pause_before_retry(self.connection, attempt, answer)
            log.warning("The archive did not respond to the query for %s; retrying in %.1f s", what, pause)
            time.sleep(pause)


def _rows(table: Table) -> list[dict[str, Any]]:
    """The rows as dictionaries, which are read a hundred times faster; masked values become None."""
    names = list(table.colnames)
    return [dict(zip(names, row, strict=True)) for row in zip(*(table[n].tolist() for n in names), strict=True)]


def _text(row: Mapping[str, Any], field: str) -> str:
    """The first of a field's columns that holds something, as text."""
    for name in FIELDS[field]:
        if name in row:
            text = str(row[name]).strip()
            if text.lower() not in _MISSING:
                return text
    return ""


def _number(row: Mapping[str, Any], field: str) -> float | None:
    try:
        return float(_text(row, field))
    except ValueError:
        return None


def _count(row: Mapping[str, Any], field: str) -> int:
    number = _number(row, field)
    return 1 if number is None else int(number)


def _flag(row: Mapping[str, Any], field: str) -> bool:
    return _text(row, field).lower() in ("t", "true", "1", "y", "yes")


def _time(row: Mapping[str, Any]) -> float | None:
    """Start, MJD, from a number or a date."""
    number = _number(row, "time")
    if number is not None:
        return number
    try:
        start = datetime.fromisoformat(_text(row, "time"))
    except ValueError:
        return None
    return (start.replace(tzinfo=None) - _MJD_0).total_seconds() / 86400


def _exposure(row: Mapping[str, Any]) -> Exposure | None:
    """The record of one row; None for what is not a single exposure, such as products of stage 3."""
    dataset = _text(row, "dataset")
    match = _EXPOSURE.fullmatch(dataset)
    if match is None:
        return None
    program, observation, _, visit_group = match.groups()
    target = _text(row, "target")
    ra, dec = _number(row, "ra"), _number(row, "dec")
    return Exposure(
        root=dataset,
        instrument=_text(row, "instrument").upper() or "MIRI",
        exposure_type=_text(row, "exposure_type").upper(),
        filter=_text(row, "filter").upper(),
        mask=_text(row, "mask").upper(),
        subarray=_text(row, "subarray").upper(),
        pupil=_text(row, "pupil").upper(),
        target=target,
        program=program,
        observation=observation,
        visit_group=visit_group,
        is_psf=_flag(row, "is_psf"),
        is_background=_flag(row, "is_background")
        or "BACKGROUND" in (target + _text(row, "pattern")).upper(),
        roll=_number(row, "roll"),
        n_integrations=_count(row, "n_integrations"),
        n_groups=_count(row, "n_groups"),
        integration_time=_number(row, "integration_time") or 0.0,
        dither=_count(row, "dither"),
        n_dithers=_count(row, "n_dithers"),
        sky=None if ra is None or dec is None else (ra, dec),
        time=_time(row),
    )  # fmt: skip


def _file(row: Mapping[str, Any], exposures: Mapping[str, Exposure], level: Stage) -> ArchiveFile | None:
    """The record of one product; None for those of other levels."""
    exposure = exposures.get(str(row["dataset"]).strip())
    name = str(row["filename"]).strip()
    if exposure is None:
        return None
    suffix = level.removesuffix("ints") if exposure.is_acquisition else level
    if not name.endswith((f"_{suffix}.fits", f"_{suffix}.fits.gz")):
        return None
    if not _NAME.fullmatch(name) or not name.startswith(exposure.root):
        raise ArchiveError(
            f"The archive lists a file {name!r}, which is not a valid file name; nothing was downloaded."
        )
    size = str(row.get("size", "")).strip()
    access = str(row.get("access", "")).strip()  # where the archive does not say, asking will tell
    return ArchiveFile(
        exposure=exposure,
        name=name,
        uri=str(row["uri"]).strip(),
        size=int(float(size)) if re.fullmatch(r"\d+(\.\d*)?", size) else 0,
        public=access.lower() in _MISSING or access.upper() == "PUBLIC",
    )
