"""Manifest of a run: products with their inputs, parameters and versions, to decide whether they are up to date.

``manifest.jsonl`` holds one JSON object per finished task, in the order of finishing; the last one of a task counts.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import xxhash

from lyot.errors import output_error
from lyot.version import __version__

log = logging.getLogger(__name__)

FILE_NAME = "manifest.jsonl"
CONFIGURATION = "lyot.toml"
"""File in the output folder with the configuration of the last run, every parameter that has a value."""
NOTES = "notes.json"
"""File in the output folder with what the last run said of its input: a list of sentences."""
SCHEMA = 2
_CHUNK = 1 << 20
"""Bytes read at once: they stay in the processor's cache until they are counted."""
_HEXADECIMAL = 32
"""Digits of a checksum; those that earlier versions remembered are longer."""
_PACKAGES = ("jwst", "stcal", "stpipe", "stdatamodels", "numpy", "scipy", "numba", "crds")
KEYED_PACKAGES = ("lyot", "jwst", "stcal")
"""Packages whose version decides whether a product is up to date."""


@dataclass(frozen=True)
class Product:
    """One file that a task wrote.

    Attributes
    ----------
    path : str
        Relative to the output folder.
    size : int
        Bytes.
    modified : int
        Modification time, ns.
    checksum : str
        XXH3 of 128 bits, hexadecimal.
    """

    path: str
    size: int
    modified: int
    checksum: str


@dataclass(frozen=True)
class Record:
    """One finished task, as in the manifest.

    Attributes
    ----------
    task, kind, name : str
        Identifier, kind (stage1, stage2, stage3, measure) and product name.
    key : str
        Checksum of all that the products depend on: inputs, parameters, versions, calibration context.
    inputs : list of dict
        ``path`` and ``checksum``; that of a product of the run itself is empty.
    products : list of Product
    parameters : dict
        All parameters of all steps, defaults included.
    versions : dict
        Package versions.
    crds_context : str
        Calibration context; empty if unknown.
    started : str
        UTC, ISO 8601.
    wall_time : float
        s.
    peak_memory : float
        Peak resident memory of the worker process during the task, MB.
    schema : int
        Version of the format of the manifest.
    association : str
        Path of the association file, relative to the output folder; empty for none.
    failure : str
        Why a measurement could not be made, as a sentence; it has no products then. Empty for what was done.

    Examples
    --------
    >>> from lyot.records import Record
    >>> record = Record("stage3/x", "stage3", "x", "key", [], [], {}, {}, "", "2026-01-01T00:00:00", 12.5, 900.0)
    >>> record.task, record.wall_time
    ('stage3/x', 12.5)
    """

    task: str
    kind: str
    name: str
    key: str
    inputs: list[dict[str, str]]
    products: list[Product]
    parameters: dict[str, Any]
    versions: dict[str, str]
    crds_context: str
    started: str
    wall_time: float
    peak_memory: float
    schema: int = SCHEMA
    association: str = ""
    failure: str = ""

    @property
    def folder(self) -> str:
        """Folder of the products below that of their kind, where a run has several targets; empty for none."""
        return "/".join(Path(self.products[0].path).parts[1:-1]) if self.products else ""


def versions() -> dict[str, str]:
    """Versions of lyot and of the packages it depends on."""
    return {"lyot": __version__, **_installed()}


@functools.cache
def _installed() -> dict[str, str]:
    """Versions of `_PACKAGES`, looked up once: each task is recorded with them."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def keyed_versions() -> dict[str, str]:
    """Versions that decide whether a product is up to date, of `KEYED_PACKAGES`.

    All development versions of lyot on the way to a release count as one: the number of commits that it holds is of no
    matter, since the sources that a product depends on are compared by their checksum.
    """
    found = versions()
    found["lyot"] = re.sub(r"\.dev\d+(\+.*)?$", "", found["lyot"])
    return {name: found.get(name, "") for name in KEYED_PACKAGES}


def file_checksum(path: Path) -> str:
    """XXH3 of 128 bits of a file, hexadecimal, as ``xxh128sum`` prints it.

    It tells whether a file has changed at the speed of reading it, where SHA-256 takes seven times as long
    (``benchmarks/checksums.py``); it does not protect from a file that was made to have the same checksum.
    """
    digest = xxhash.xxh3_128()
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def product_of(path: Path, out: Path) -> Product:
    """Describe a file that was written below `out`."""
    stat = path.stat()
    return Product(path.relative_to(out).as_posix(), stat.st_size, stat.st_mtime_ns, file_checksum(path))


def content_key(content: Mapping[str, Any]) -> str:
    """Checksum of JSON-ready content; 5 and 5.0 are the same."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()


def _state(path: Path) -> list[int]:
    """Size and modification time; empty for a file that is gone."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


class Checksums:
    """Checksums of input files, remembered in the output folder by size and modification time.

    A file that is looked at is read only when its checksum is asked for, or by whoever gives it with `add`.

    Parameters
    ----------
    store : Path
        JSON file that remembers them; made when `save` is called.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._known: dict[str, list[Any]] = {}
        self._seen: dict[str, list[int]] = {}
        if store.is_file():
            try:
                known = json.loads(store.read_text(encoding="utf-8"))
                self._known = {path: entry for path, entry in known.items() if len(entry[2]) == _HEXADECIMAL}
            except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:
                log.warning("%s cannot be read (%s); checksums are recomputed", store, error)

    def look_at(self, paths: Iterable[Path]) -> None:
        """Note size and modification time of the input files as they are now."""
        self._seen.update({str(path): _state(path) for path in paths})

    def is_input(self, path: Path) -> bool:
        """Whether a file was looked at."""
        return str(path) in self._seen

    def unknown(self, paths: Iterable[Path]) -> list[Path]:
        """Files whose content is not known: never read, or changed since; one that is gone stays known."""
        return [path for path in paths if not self._is_known(path)]

    def _is_known(self, path: Path) -> bool:
        entry = self._known.get(str(path))
        return entry is not None and _state(path) in (entry[:2], [])

    def of(self, paths: Sequence[Path]) -> dict[Path, str]:
        """Checksums of files; those that did not change since the last time are not read."""
        todo = self.unknown(paths)
        with ThreadPoolExecutor(max_workers=2) as pool:
            for path, digest in zip(todo, pool.map(file_checksum, todo), strict=True):
                self._known[str(path)] = [*_state(path), digest]
        return {p: str(self._known[str(p)][2]) for p in paths}

    def add(self, found: Mapping[str, str]) -> None:
        """Take the checksums of files that were looked at and have not changed since."""
        self._known.update({path: [*self._seen[path], digest] for path, digest in found.items()})

    def is_changed(self, path: Path) -> bool:
        """Whether an input file is no longer what it was; one that is gone or was never looked at counts as unchanged.

        If only its modification time differs its content decides, where that was known.
        """
        name = str(path)
        if name not in self._seen or _state(path) in (self._seen[name], []):
            return False
        return name not in self._known or file_checksum(path) != self._known[name][2]

    def save(self) -> None:
        """Write what is known, so that the next run need not read the inputs again."""
        write_text(self._store, json.dumps(self._known))


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is either complete or not there.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")  # a path may hold any bytes
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise output_error(path, error) from error


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    """Entry of a file with the name that its checksum has now: it was SHA-256 in earlier versions."""
    return {"checksum" if name == "sha256" else name: value for name, value in values.items()}


_LINE = 2**20
"""Longer than a line of the manifest, bytes: it is written at once, and whoever reads it never finds half of it."""


class Manifest:
    """``manifest.jsonl`` of an output folder.

    Parameters
    ----------
    out : Path
        Output folder.

    Examples
    --------
    >>> import tempfile
    >>> from lyot.records import Manifest, Product, Record
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = Path(folder.name) / "stage1.fits"
    >>> _ = file.write_text("slopes", encoding="utf-8")
    >>> product = Product(file.name, file.stat().st_size, file.stat().st_mtime_ns, file_checksum(file))
    >>> record = Record("stage1/a", "stage1", "a", "key", [], [product], {}, {}, "", "2026-01-01T00:00:00", 1.0, 100.0)
    >>> manifest = Manifest(Path(folder.name))
    >>> manifest.add(record)
    >>> manifest.is_current("stage1/a", "key"), manifest.is_current("stage1/a", "another key")
    (True, False)
    >>> _ = file.write_text("SLOPES", encoding="utf-8")
    >>> Manifest(Path(folder.name)).is_current("stage1/a", "key")
    False
    >>> folder.cleanup()
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out / FILE_NAME
        self._records: dict[str, Record] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            values = json.loads(line)
            values.pop("extra", None)  # a field of earlier versions, always empty
            values["products"] = [Product(**_renamed(p)) for p in values["products"]]
            values["inputs"] = [_renamed(item) for item in values["inputs"]]
            record = Record(**values)
        except (ValueError, TypeError, KeyError):
            log.warning("%s: a line cannot be read and is ignored", self.path)
            return
        self._put(record)

    def _put(self, record: Record) -> None:
        self._records.pop(record.task, None)  # so that the records are in the order of finishing
        self._records[record.task] = record

    @property
    def records(self) -> tuple[Record, ...]:
        """The last record of every task, in the order of finishing."""
        return tuple(self._records.values())

    def record(self, task: str) -> Record | None:
        """The last record of a task.

        Parameters
        ----------
        task : str
            Identifier, such as ``stage3/all``.

        Returns
        -------
        Record or None
            None if the task never finished.
        """
        return self._records.get(task)

    def is_current(self, task: str, key: str) -> bool:
        """Whether the products of a task exist, are unchanged, and were made from what `key` stands for.

        A product whose size and modification time are as recorded counts as unchanged; if only the time differs, its
        checksum decides.

        Parameters
        ----------
        task : str
            Identifier.
        key : str
            Checksum of all that the products depend on (`Record.key`).

        Returns
        -------
        bool
            False for a measurement that failed.
        """
        record = self._records.get(task)
        if record is None or record.failure or record.key != key:
            return False
        return all(self._intact(p) for p in record.products)

    def _intact(self, product: Product) -> bool:
        path = self.out / product.path
        try:
            stat = path.stat()
        except OSError:
            return False
        if stat.st_size != product.size:
            return False
        return stat.st_mtime_ns == product.modified or file_checksum(path) == product.checksum

    def begin(self) -> None:
        """Make the file if it is not there: from now on the folder is known as that of a run.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        try:
            self.path.touch()
        except OSError as error:
            raise output_error(self.path, error) from error

    def add(self, record: Record) -> None:
        """Append the record of a finished task, and remove products of its former record that it no longer made.

        A file that was changed since it was made stays: it is not ours any more.

        Parameters
        ----------
        record : Record

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        try:
            with self.path.open("ab+", buffering=_LINE) as stream:
                line = json.dumps(asdict(record)).encode() + b"\n"
                if stream.tell():
                    stream.seek(-1, os.SEEK_END)
                    if stream.read(1) != b"\n":  # a line that broke off must not take this one with it
                        line = b"\n" + line
                stream.write(line)
        except OSError as error:
            raise output_error(self.path, error) from error
        self._remove_former(record)
        self._put(record)

    def _remove_former(self, record: Record) -> None:
        former = self._records.get(record.task)
        kept = {p.path for p in record.products}
        for product in former.products if former is not None else ():
            if product.path not in kept and self._intact(product):
                log.info("%s is no longer produced and is removed", product.path)
                (self.out / product.path).unlink(missing_ok=True)
