"""Folders, inputs, logs and small tables of the tutorial notebooks."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from lyot import dq as dq_flags
from lyot.errors import ConfigError, ReductionError
from lyot.reference_files.environment import DEFAULT_SERVER, CrdsEnvironment, resolve_crds
from lyot.run.warm import keep_schemas, settle
from lyot.steps.models import DataModel
from lyot.tutorials import data as tutorial_data
from lyot.tutorials.data import Inputs, Level

if TYPE_CHECKING:
    from pandas import DataFrame
    from pandas.io.formats.style import Styler

    from lyot.run.execute import Event

log = logging.getLogger(__name__)

_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/'\"]+/)+")

SIZE_VARIABLE: Final = "LYOT_DEMO_SIZE"
"""Environment variable that overrules the SIZE of a notebook."""

HOMES: Final[dict[Level, str]] = {"uncal": "uncal", "rateints": "stage1/output", "calints": "stage2/output-asn_all"}
"""Where the notebooks keep each level."""

LOGGERS: Final = ("stpipe", "jwst", "stcal", "stdatamodels", "lyot", "CRDS", "py.warnings")


def _needed(name: str) -> Any:
    """A module of the extra ``notebooks``, or one sentence that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ReductionError(
            f'the notebooks require {package}, which is not installed; pip install "lyot[notebooks]".'
        ) from error


@dataclass(frozen=True)
class Demo:
    """The folder tree of the tutorials, and where they take their exposures from; made by `open_demo`.

    Attributes
    ----------
    root : Path
        ``pipeline_demos``.
    size, source, filter : str
        See `lyot.tutorials.data.get_inputs`.
    """

    root: Path
    size: str = "small"
    source: str = "auto"
    filter: str = "F1550C"

    def folder(self, name: str) -> Path:
        """A folder of the tree, created if it does not exist.

        Parameters
        ----------
        name : str
            Path below `root`.

        Returns
        -------
        Path
        """
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def inputs(self, level: Level) -> Inputs:
        """Exposures of one level: from an earlier notebook, the archive or the simulator.

        Calibrated exposures that do not exist yet are made here, with the pipelines of this package at their defaults;
        the reference system is set up on the way.

        Parameters
        ----------
        level : "uncal", "rateints" or "calints"
            Kind of product.

        Returns
        -------
        Inputs
            The files and where they come from.
        """
        home = self.folder(HOMES[level])
        if (
            tutorial_data.find_exposures(home, level)
            or tutorial_data.wants_archive(self.size, self.source)
            or level == "uncal"
        ):
            found = self._get(level, home)
        else:
            found = self._calibrate(level, home)
        self.calibration().apply()
        return found

    def _get(self, level: Level, home: Path) -> Inputs:
        return tutorial_data.get_inputs(level, home, size=self.size, source=self.source, filter=self.filter)

    def _calibrate(self, level: Level, home: Path) -> Inputs:
        """Make slopes, or calibrated exposures, from the nearest that is there; with these, the slopes on the way."""
        from lyot.run.config import build_config
        from lyot.run.execute import run

        slopes = tutorial_data.find_exposures(self.folder(HOMES["rateints"]), "rateints")
        origin = self.inputs("rateints" if level == "calints" and slopes else "uncal")
        made: dict[str, Level] = {"stage1": "rateints", "stage2": "calints"}
        stages = [s for s, product in made.items() if product == level or (level == "calints" and not slopes)]
        settings = {"stages": ",".join(s[-1] for s in stages), "crds_path": str(self.calibration().path)}
        with tempfile.TemporaryDirectory(prefix=".calibrating-", dir=home) as scratch:
            run(origin.files, scratch, build_config({"run": settings}))
            for stage in stages:
                folder = self.folder(HOMES[made[stage]])
                for product in sorted((Path(scratch) / stage).glob("*.fits")):
                    product.replace(folder / product.name)
        return Inputs(tutorial_data.find_exposures(home, level), origin.origin)

    def calibration(self) -> CrdsEnvironment:
        """The calibration references that belong to the exposures: simulated ones come with their own.

        Returns
        -------
        CrdsEnvironment
            Not applied yet.

        Raises
        ------
        ReferenceFileError
            If there is no cache and no server.
        """
        simulated = self.root / "uncal" / "crds_cache"
        if not simulated.is_dir():
            os.environ.setdefault("CRDS_SERVER_URL", DEFAULT_SERVER)
        return resolve_crds(simulated if simulated.is_dir() else None)

    @property
    def truth(self) -> dict[str, Any] | None:
        """True values of the simulation (`lyot.simulator.truth`); None for real observations."""
        from lyot.simulator.truth import read_truth

        folder = self.root / "uncal"
        return read_truth(folder) if (folder / "truth.json").is_file() else None

    @property
    def truth_slopes(self) -> Path | None:
        """File of the true slopes, one extension per exposure; None for real observations."""
        path = self.root / "uncal" / "truth_slopes.fits"
        return path if path.is_file() else None

    def empty(self, name: str) -> Path:
        """A folder of the tree with everything in it removed except hidden files.

        Parameters
        ----------
        name : str
            Path below `root`.

        Returns
        -------
        Path
        """
        path = self.folder(name)
        for item in path.iterdir():
            if not item.name.startswith("."):
                shutil.rmtree(item) if item.is_dir() else item.unlink()
        return path


def open_demo(root: str | Path = ".", *, size: str = "small", source: str = "auto", filter: str = "F1550C") -> Demo:
    """Set up the folders of the tutorials, and caches that halve the time of repeated steps.

    asdf keeps what it has parsed of schemas, and what is in memory now is left out of garbage collections
    (`lyot.run.warm`); no result changes.

    Parameters
    ----------
    root : path
        ``pipeline_demos``; by default the folder that the notebook is in.
    size : "small", "medium" or "full"
        How large a sequence; the environment variable LYOT_DEMO_SIZE overrules it.
    source : "auto", "archive" or "simulator"
        Where missing exposures are taken from.
    filter : str
        Coronagraphic filter.

    Returns
    -------
    Demo

    Raises
    ------
    ConfigError
        If `root` is not the folder of the tutorials.
    """
    root = Path(root).resolve()
    if not (root / "uncal").is_dir() or not (root / "stage1").is_dir():
        raise ConfigError(f"{root}: not the folder of the tutorials (it has no uncal and stage1); start Jupyter there.")
    use_style()
    keep_schemas()
    settle("tutorial")
    return Demo(root, os.environ.get(SIZE_VARIABLE) or size, source, filter)


def use_style() -> None:
    """Use the font sizes of `lyot.report` in all figures of a notebook, and show long texts in tables in full."""
    import matplotlib as mpl

    pd = _needed("pandas")

    pd.set_option("display.max_colwidth", None)

    mpl.rc("image", origin="lower")
    mpl.rc("font", size=8)
    mpl.rc("axes", titlesize=9, labelsize=8)
    mpl.rc("xtick", labelsize=7)
    mpl.rc("ytick", labelsize=7)
    mpl.rc("legend", fontsize=7)


@contextlib.contextmanager
def log_to(path: str | Path) -> Iterator[Path]:
    """Write the logs of steps to a file inside a ``with`` block; call steps with ``configure_log=False``.

    Parameters
    ----------
    path : path
        The file; an existing one is overwritten.

    Yields
    ------
    Path
        The file.
    """
    import crds.core.log  # noqa: F401 - adds its own handler on import

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers = [handler]
    try:
        yield path
    finally:
        logging.captureWarnings(False)
        for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate, logger.handlers = propagate, handlers
        handler.close()


def show_progress() -> Callable[[Event], None]:
    """Make a line of progress for ``run(..., on_event=show_progress())``, which is overwritten as tasks finish.

    Returns
    -------
    callable
        Takes an `lyot.run.Event`.
    """
    display = _needed("IPython.display").display

    class Line(str):
        __slots__ = ()

        def __repr__(self) -> str:
            return str(self)

    handle = display(Line("planning"), display_id=True)
    counts = {"planned": 0, "current": 0, "finished": 0}

    def tell(event: Event) -> None:
        if event.kind == "planned":
            counts["planned"] = int(event.detail)
        elif event.kind in counts:
            counts[event.kind] += 1
        else:
            return
        done = counts["current"] + counts["finished"]
        last = f"; last: {event.task.id}" if event.task is not None else ""
        handle.update(Line(f"{done} of {counts['planned']} tasks{last}"))

    return tell


def log_lines(path: str | Path, *words: str) -> str:
    """Messages of a log file that contain one of the words.

    Time stamps and the folders of files are omitted, and a repeated message is given once.

    Parameters
    ----------
    path : path
        The log file.
    *words : str
        In upper or lower case; all messages if there is none.

    Returns
    -------
    str
        One message a line.
    """
    lines = [line.split(": ", 1)[-1] for line in Path(path).read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in lines if not words or any(w.lower() in line.lower() for w in words)]
    return "\n".join(dict.fromkeys(_FOLDERS.sub("", line) for line in wanted))


def exposure_table(files: Sequence[str | Path]) -> DataFrame:
    """Exposures with their roles as determined from their headers: one row each.

    The columns are the keywords TARGPROP, FILTER, NINTS and NGROUPS; ``roll`` numbers the rolls of the science target,
    ``angle`` is ROLL_REF, the position angle of the telescope, and ``header flags`` lists IS_PSF and BKGDTARG where
    they are true. The observation number is part of the name.

    Parameters
    ----------
    files : sequence of path
        Exposures of any level.

    Returns
    -------
    pandas.DataFrame
    """
    from lyot.exposures.read import find_exposures
    from lyot.exposures.roles import sort_roles

    pd = _needed("pandas")

    rows = []
    for assigned in sort_roles(find_exposures(files)):
        e = assigned.exposure
        rows.append(
            {
                "exposure": e.root, "role": str(assigned.role), "target": e.target, "filter": e.filter,
                "integrations": e.n_integrations, "groups": e.n_groups, "roll": assigned.roll_number or "",
                "angle [deg]": e.roll,
                "header flags": " ".join(n for n, on in (("IS_PSF", e.is_psf), ("BKGDTARG", e.is_background)) if on),
            }
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("exposure").round({"angle [deg]": 2})


def parameter_table(step: Any, names: str = "") -> Styler:
    """Parameters of a step or pipeline class with defaults and help, as its specification declares them.

    Parameters
    ----------
    step : type
        An stpipe step, of Lyot or of `jwst`.
    names : str
        Names separated by blanks, in the order of the table; by default all that are not common to every step.

    Returns
    -------
    pandas Styler
    """
    from jwst.stpipe import Step

    pd = _needed("pandas")

    spec, general = step.load_spec_file(), Step.load_spec_file().scalars
    rows = [
        {
            "parameter": name,
            "default": _default_of(str(spec[name])),
            "what it does": str(spec.inline_comments.get(name) or "").strip().lstrip("#").strip(),
        }
        for name in names.split() or [n for n in spec.scalars if n not in general]
    ]
    table = pd.DataFrame(rows, columns=["parameter", "default", "what it does"]).set_index("parameter").style
    left = [("text-align", "left")]
    return table.set_table_styles([{"selector": "th", "props": left}, {"selector": "td", "props": left}])


def _default_of(declaration: str) -> str:
    found = re.search(r"default\s*=\s*(list\([^)]*\)|'[^']*'|\"[^\"]*\"|[^,)]+)", declaration)
    value = found[1].strip("'\"") if found else ""
    return value.removeprefix("list(").removesuffix(")") if value.startswith("list(") else value


def flag_table(*flags: NDArray[np.integer], labels: Sequence[str] = ("count",)) -> DataFrame:
    """Number of elements of DQ arrays with each flag: one row per flag that occurs, one column per array.

    Parameters
    ----------
    *flags : (...) integer ndarray
        Data-quality bits.
    labels : sequence of str
        Names of the columns.

    Returns
    -------
    pandas.DataFrame
    """
    pd = _needed("pandas")

    rows = {}
    for name, bit in sorted(dq_flags.FLAGS.items(), key=lambda item: item[1]):
        counts = [_count(np.asarray(f), bit) for f in flags]
        if bit and any(counts):
            rows[name] = counts
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(labels))


def _count(flags: NDArray[np.integer], bit: int) -> int:
    if bit > np.iinfo(flags.dtype).max:
        return 0
    return int(np.count_nonzero(flags & flags.dtype.type(bit)))


def difference_table(ours: Mapping[str, Any], official: Mapping[str, Any]) -> DataFrame:
    """Arrays of the same names side by side: how many elements differ, and by how much: nearly all, and at most.

    Parameters
    ----------
    ours, official : mapping of str to (...) array
        Arrays by name, of the same shape; NaN equals NaN.

    Returns
    -------
    pandas.DataFrame
    """
    pd = _needed("pandas")

    rows = {}
    for name, array in ours.items():
        a, b = np.asarray(array), np.asarray(official[name])
        same = (a == b) | (np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else a == b
        gap = np.abs(np.subtract(a, b, dtype=float))[~same]
        finite = gap[np.isfinite(gap)]
        most = float(np.sort(finite)[-1 - a.size // 100]) if finite.size > a.size // 100 else 0.0
        rows[name] = [a.size, int((~same).sum()), most, float(finite.max()) if finite.size else 0.0]
    columns = ["elements", "different", "99 % differ by less than", "largest difference"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.astype(dict.fromkeys(columns[2:], object)).map(lambda v: f"{v:.2g}" if isinstance(v, float) else v)


def reference_table(model: DataModel) -> DataFrame:
    """Calibration reference files that a product was made with, and the CRDS context that selected them.

    Parameters
    ----------
    model : DataModel
        The product.

    Returns
    -------
    pandas.DataFrame
    """
    pd = _needed("pandas")

    tree = model.meta.ref_file.instance if hasattr(model.meta.ref_file, "instance") else dict(model.meta.ref_file)
    rows = {k: v["name"] for k, v in tree.items() if isinstance(v, dict) and v.get("name") not in (None, "N/A")}
    rows["context"] = tree.get("crds", {}).get("context_used", "")
    return pd.DataFrame.from_dict(rows, orient="index", columns=["file"])
