"""A small MAST on 127.0.0.1: search, list of files, download and name look-up, with faults on demand.

The form of the answers is that of the files which astroquery packages for its own tests (astroquery 0.4.11,
``astroquery/mast/tests/data``):

- ``mission_columns.json`` for ``/search/util/api/v0.1/column_list``,
- ``mission_results.json`` for ``/search/jwst/api/v0.1/search`` (``info`` with names and types, ``search_params``,
  ``totalResults``, ``results`` as objects; paging by ``limit`` and ``offset`` in the body),
- ``mission_products.json`` for ``/search/jwst/api/v0.1/post_list_products``,
- ``resolver.json`` for the entries of ``Mast.Name.Lookup`` at ``/api/v0/invoke``,
- the download address ``/search/jwst/api/v0.1/retrieve_product?product_name=...`` as `MastMissions.download_file`
  builds it.

Those files hold HST rows; the JWST columns (fileSetName, program, observtn, exp_type, is_psf, bkgdtarg, targprop,
miri_coronmsk, ...) are those of the documented JWST search, which carry the names of the FITS keywords, and the
exposures are those of program 1386 as its public headers give them. The token is taken as MAST documents it: header
``Authorization: token ...``.
"""

from __future__ import annotations

import fnmatch
import functools
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from astropy.io import fits

TOKEN = "s3cret-t0ken-0123456789abcdef"

COLUMNS = {
    "fileSetName": "string", "instrume": "string", "exp_type": "string", "filter": "string",
    "miri_coronmsk": "string", "subarray": "string", "targprop": "string", "program": "integer",
    "observtn": "integer", "is_psf": "string", "bkgdtarg": "string", "gs_v3_pa": "float", "nints": "integer",
    "ngroups": "integer", "effinttm": "float", "patt_num": "integer", "numdthpt": "integer", "targ_ra": "float",
    "targ_dec": "float", "date_beg": "datetime", "productLevel": "string",
}  # fmt: skip

_SQL = {"string": "VARCHAR", "integer": "INTEGER", "float": "FLOAT", "datetime": "DATETIME"}


@dataclass
class Fault:
    """One thing that goes wrong: an HTTP state, a connection cut after so many bytes, or a wait before the answer."""

    state: int = 0
    cut_after: int | None = None
    wait: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Archive:
    """What the server holds, and what it saw.

    Attributes
    ----------
    rows : list of dict
        Of the table of observations.
    products : list of dict
        Of the list of files.
    content : dict
        Bytes of each file, by uri.
    faults : dict
        For a part of an address, the faults of its next requests, in order.
    ranges : bool
        Whether a part of a file can be asked for.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    products: list[dict[str, Any]] = field(default_factory=list)
    content: dict[str, bytes] = field(default_factory=dict)
    positions: dict[str, tuple[float, float]] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=lambda: dict(COLUMNS))
    etags: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    forget_once: set[str] = field(default_factory=set)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def seen(self, part: str) -> list[tuple[str, dict[str, str], bytes]]:
        """Requests whose address holds `part`."""
        return [r for r in self.requests if part in r[0]]

    def add(self, dataset: str, *, sizes: int = 8, access: str = "PUBLIC", **values: Any) -> None:
        """Add an exposure with the three products that we know, and a preview that we do not want."""
        match = re.fullmatch(r"jw(\d{5})(\d{3})\d{3}_\d{5}_\d{5}", dataset)
        assert match is not None
        row = {
            "fileSetName": dataset, "instrume": "MIRI", "exp_type": "MIR_4QPM", "filter": "F1550C",
            "miri_coronmsk": "4QPM_1550", "subarray": "MASK1550", "targprop": "HIP-65426", "program": int(match[1]),
            "observtn": int(match[2]), "is_psf": "f", "bkgdtarg": "f", "gs_v3_pa": 108.17, "nints": 60,
            "ngroups": 250, "effinttm": 59.9, "patt_num": 1, "numdthpt": 1, "targ_ra": 201.15, "targ_dec": -51.504,
            "date_beg": "2022-07-17T03:00:00", "productLevel": "2b",
        }  # fmt: skip
        row.update(values)
        self.rows.append(row)
        image = row["exp_type"].endswith(("TACQ", "TACONFIRM"))
        for suffix in ("uncal", "rate", "cal") if image else ("uncal", "rateints", "calints"):
            self.add_file(dataset, f"{dataset}_mirimage_{suffix}.fits", sizes=sizes, access=access)
        self.add_file(dataset, f"{dataset}_mirimage_calints.jpg", sizes=1, access=access)

    def add_file(
        self, dataset: str, name: str, *, sizes: int = 8, access: str = "PUBLIC", uri: str | None = None
    ) -> None:
        """Add a file of `sizes` times 16 kB."""
        uri = uri or f"{dataset}/{name}"
        body = fits_bytes(sizes, seed=len(self.content)) if name.endswith(".fits") else b"preview"
        self.content[uri] = body
        self.products.append({
            "product_key": f"{dataset}_{name}", "access": access, "dataset": dataset, "instrument_name": "MIRI",
            "filters": "F1550C", "filename": name, "uri": uri, "authz_primary_identifier": dataset,
            "authz_secondary_identifier": "CAL", "file_suffix": "_" + name.rpartition("_")[2].partition(".")[0],
            "category": "1b", "size": len(body), "type": "science",
        })  # fmt: skip


@functools.cache
def fits_bytes(blocks: int, *, seed: int) -> bytes:
    """A FITS file of about `blocks` times 16 kB."""
    stream = io.BytesIO()
    data = np.random.default_rng(seed).integers(0, 60000, (blocks, 64, 128), dtype=np.uint16)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, name="SCI")]).writeto(stream)
    return stream.getvalue()


def _matches(row: dict[str, Any], conditions: list[dict[str, Any]]) -> bool:
    for condition in conditions:
        for name, wanted in condition.items():
            patterns = str(wanted).split(",")
            if not any(fnmatch.fnmatchcase(str(row[name]).upper(), p.upper()) for p in patterns):
                return False
    return True


def _near(row: dict[str, Any], body: dict[str, Any]) -> bool:
    if "target" not in body:
        return True
    ra, dec = (float(v) for v in body["target"][0].split())
    distance = np.hypot((row["targ_ra"] - ra) * np.cos(np.radians(dec)), row["targ_dec"] - dec)
    return bool(distance * 3600 < body["radius"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    archive: Archive

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        archive = self.archive
        with archive.lock:
            archive.requests.append((unquote(self.path), dict(self.headers), body))
            archive.at_once += 1
            archive.most_at_once = max(archive.most_at_once, archive.at_once)
            fault = next((f.pop(0) for part, f in archive.faults.items() if part in unquote(self.path) and f), Fault())
        try:
            time.sleep(fault.wait)
            if fault.state:
                self._send(fault.state, b'{"detail": "out of order"}', fault.headers)
                return
            path = urlsplit(self.path).path
            for part, reply in self._replies().items():
                if path == part:
                    reply(body, fault)
                    return
            self._send(404, b"{}")
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with archive.lock:
                archive.at_once -= 1

    def _replies(self) -> dict[str, Callable[[bytes, Fault], None]]:
        return {
            "/search/util/api/v0.1/column_list": self._columns,
            "/search/jwst/api/v0.1/search": self._search,
            "/search/jwst/api/v0.1/post_list_products": self._products,
            "/search/jwst/api/v0.1/retrieve_product": self._file,
            "/api/v0/invoke": self._position,
        }

    def _json(self, value: Any, fault: Fault) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, cut=fault.cut_after)

    def _columns(self, body: bytes, fault: Fault) -> None:
        columns = [
            {"field_name": name, "description": name, "column_name": name, "queryable": "yes", "qual_type": kind,
             "default_output": "yes", "indexed": "no", "datatype": "char"}
            for name, kind in self.archive.columns.items()
        ]  # fmt: skip
        self._json(columns, fault)

    def _search(self, body: bytes, fault: Fault) -> None:
        asked = json.loads(body)
        rows = [r for r in self.archive.rows if _matches(r, asked["conditions"]) and _near(r, asked)]
        rows.sort(key=lambda r: r["fileSetName"])
        page = rows[asked["offset"] : asked["offset"] + asked["limit"]]
        names = asked["select_cols"]
        info = [{"name": n, "type": _SQL[self.archive.columns[n]]} for n in names]
        results = [{n: r.get(n) for n in names} for r in page]
        self._json(
            {"messages": [], "info": info, "search_params": asked, "totalResults": len(rows), "results": results}, fault
        )

    def _products(self, body: bytes, fault: Fault) -> None:
        wanted = set(json.loads(body)["dataset_ids"])
        forgotten, self.archive.forget_once = self.archive.forget_once & wanted, self.archive.forget_once - wanted
        found = [p for p in self.archive.products if p["dataset"] in wanted - forgotten]
        self._json({"products": found}, fault)

    def _position(self, body: bytes, fault: Fault) -> None:
        asked = json.loads(parse_qs(body.decode())["request"][0])
        assert asked["service"] == "Mast.Name.Lookup"
        place = self.archive.positions.get(asked["params"]["input"])
        known = [] if place is None else [
            {"searchString": asked["params"]["input"].lower(), "resolver": "SIMBAD", "cached": True,
             "searchRadius": -1.0, "canonicalName": asked["params"]["input"], "ra": place[0], "decl": place[1]}
        ]  # fmt: skip
        self._json({"resolvedCoordinate": known, "status": ""}, fault)

    def _file(self, body: bytes, fault: Fault) -> None:
        uri = parse_qs(urlsplit(self.path).query)["product_name"][0]
        content = self.archive.content.get(uri)
        access = {p["uri"]: p["access"] for p in self.archive.products}.get(uri)
        if content is None:
            self._send(404, b"{}")
        elif access != "PUBLIC" and self.headers.get("Authorization") != f"token {TOKEN}":
            self._send(401 if "Authorization" not in self.headers else 403, b"{}")
        else:
            self._part(uri, content, fault)

    def _part(self, uri: str, content: bytes, fault: Fault) -> None:
        etag = self.archive.etags.get(uri, f'"{len(content)}"')
        headers = {"Content-Type": "application/fits", "ETag": etag}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", etag) == etag
        if asked is None or not same or not self.archive.ranges:
            self._send(200, content, headers, cut=fault.cut_after)
            return
        start = int(asked[1])
        if start >= len(content):
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206, content[start:], headers, cut=fault.cut_after)

    def _send(self, state: int, body: bytes, headers: dict[str, str] | None = None, *, cut: int | None = None) -> None:
        self.send_response(state)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = True


@contextmanager
def serve(archive: Archive) -> Iterator[str]:
    """Run the server in a thread; gives its address."""
    handler = type("Handler", (_Handler,), {"archive": archive})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def program_1386(archive: Archive) -> None:
    """The F1550C sequence of HIP 65426, one exposure of another star, and one in another filter."""
    star = {"targ_ra": 201.150, "targ_dec": -51.504}
    archive.add("jw01386008001_04101_00001", gs_v3_pa=108.17, date_beg="2022-07-17T03:00:00", **star)
    archive.add("jw01386009001_04101_00001", gs_v3_pa=117.55, date_beg="2022-07-17T06:00:00", **star)
    for n in range(1, 10):
        archive.add(
            f"jw01386007001_04101_{n:05d}", targprop="HIP-65219", is_psf="t", nints=19, ngroups=100, patt_num=n,
            numdthpt=9, targ_ra=200.5, targ_dec=-51.2, date_beg=f"2022-07-17T01:{n:02d}:00",
        )  # fmt: skip
    for observation, target, ramps in (
        ("030", "HIP-65426-BACKGROUND", {"nints": 60, "ngroups": 250}),
        ("031", "HIP-65219-BACKGROUND", {"nints": 19, "ngroups": 100}),
    ):
        for n in (1, 2):
            archive.add(
                f"jw01386{observation}001_0{n + 1}101_00001", targprop=target, bkgdtarg="t", targ_ra=201.2,
                targ_dec=-51.6, date_beg="2022-07-17T09:00:00", **ramps,
            )  # fmt: skip
    for n in (2, 3):
        archive.add(f"jw01386008001_0{n}101_00001", exp_type="MIR_TACQ", filter="FND", nints=1, ngroups=10, **star)
    archive.add("jw01386027001_04101_00001", targprop="HD-141569A", targ_ra=237.49, targ_dec=-3.92)
    archive.add("jw01386004001_04101_00001", filter="F1140C", miri_coronmsk="4QPM_1140", subarray="MASK1140", **star)
    level3 = dict(archive.rows[0], fileSetName="jw01386-o008_t001_miri_f1550c-mask1550", productLevel="3")
    archive.rows.append(level3)
