"""`Run`: a finished reduction for use in a notebook, and the two functions that return one."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData, StdDevUncertainty
from astropy.table import QTable

from lyot.analysis.combined_image import CombinedImage, is_source, wcs_of
from lyot.analysis.finished_run import FinishedRun, MeasuredRun, find_finished, open_run
from lyot.analysis.measurements import (
    fit_run,
    measure_companions,
    measure_contrast,
    places_to_fit,
    search_sources,
)
from lyot.analysis.measurements import measure_detections as search
from lyot.analysis.star_flux import load_star
from lyot.errors import InputError
from lyot.exposures.names import COMPANIONS, CONTRAST, DETECTIONS
from lyot.geometry import sky_offset
from lyot.interface.quantities import Value, number, plain_parameters
from lyot.params import ParameterInfo, describe
from lyot.records.freshness import is_current
from lyot.records.tables import read_ecsv
from lyot.run.config import OWN, Config, config_of_run, load_config
from lyot.run.pipelines import STAGE_NAMES, StepParameter, step_parameters
from lyot.written import position_text, snr_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Inputs = str | Path | Sequence[str | Path]


def reduce(
    inputs: Inputs,
    out: str | Path,
    *,
    config: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    report: bool = True,
    **parameters: Any,
) -> Run:
    """Reduce exposures to the star-subtracted image and measure it, like ``lyot run``.

    Parameters
    ----------
    inputs : path or sequence of paths
        Exposure files at any stage, folders, associations.
    out : path
        Output folder. If it contains an earlier run, only what is not up to date is redone.
    config : path, optional
        Configuration file (TOML).
    overwrite : bool, optional
        Redo everything.
    progress : bool, optional
        Show a progress bar, on a terminal or in a notebook.
    report : bool, optional
        Write the HTML report.
    **parameters
        Parameters of the section ``[run]`` (``filter="F1550C"``, ``target=...``, ``jobs=2``), and other sections as
        mappings: ``star={"magnitude": 6.6}``, ``contrast={"measure": True}``, ``stage3={"klip": {"truncate": [9]}}``.
        Values may be quantities: ``star={"flux": 100 * u.mJy}``.

    Returns
    -------
    Run

    Raises
    ------
    LyotError
        With one sentence that explains the error; finished products are kept.

    Examples
    --------
    >>> import lyot
    >>> run = lyot.reduce("mydata/", "reduced", star={"magnitude": 6.6})  # doctest: +SKIP
    """
    from lyot.interface.progress import progress_display
    from lyot.run.execute import run as execute

    sections = {name: _plain(name, value) for name, value in parameters.items() if isinstance(value, Mapping)}
    plain = {name: value for name, value in parameters.items() if name not in sections}
    paths = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    settings = load_config(config, sections=sections, **plain)
    if "3" not in settings.run.stages:
        raise InputError(
            f"stages: lyot.reduce requires stage 3, got stages {settings.run.stages}; include stage 3, or use "
            "lyot.run.execute.run."
        )
    if progress:
        with progress_display() as listener:
            result = execute(paths, out, settings, overwrite=overwrite, on_event=listener)
    else:
        result = execute(paths, out, settings, overwrite=overwrite)
    if report and (result.is_news or not (result.out / "report" / "index.html").is_file()):
        from lyot.report import write_report

        write_report(result.out)
    return open(result.out)


def _plain(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A section of the configuration, with quantities as numbers in the units of its parameters."""
    if section in STAGE_NAMES:
        known = {name: [_declaration(p) for p in found] for name, found in step_parameters(section).items()}
        steps = {name: value for name, value in values.items() if isinstance(value, Mapping)}
        own = {name: value for name, value in values.items() if name not in steps}
        return plain_parameters(own, known[""], where=f"{section}: ") | {
            name: plain_parameters(value, known.get(name, ()), where=f"{section}.{name}: ")
            for name, value in steps.items()
        }
    infos = describe(OWN[section]) if section in OWN else ()
    return plain_parameters(values, infos, where=f"[{section}] ")


def _declaration(parameter: StepParameter) -> ParameterInfo:
    """What is known of the parameter of a step; one that jwst declares has no unit."""
    p = parameter
    return p.info or ParameterInfo(p.name, p.kind, True, p.default, p.help, "", None, None, None)


def open(out: str | Path, *, target: str | None = None) -> Run:
    """Open a finished reduction.

    Parameters
    ----------
    out : path
        Output folder of ``lyot run`` or `lyot.reduce`.
    target : str, optional
        Science target, where the run has several; by default the one that was reduced last.

    Returns
    -------
    Run

    Raises
    ------
    MissingInputError
        If there is no finished stage 3 in it.

    Examples
    --------
    >>> import lyot
    >>> lyot.open("reduced").detections  # doctest: +SKIP
    """
    return Run(find_finished(out, target=target))


def _image(image: CombinedImage, data: Any, variance: Any, **meta: Any) -> NDData:
    error = None if variance is None else StdDevUncertainty(np.sqrt(variance), unit=u.MJy / u.sr)
    keys = ("TARGPROP", "FILTER", "INSTRUME", "KLMODES")
    found = {key.lower(): image.primary[key] for key in keys if key in image.primary}
    return NDData(
        data, uncertainty=error, mask=~np.isfinite(data), wcs=wcs_of(image.header), unit=u.MJy / u.sr,
        meta={**found, "star": image.center, "pixel_scale": image.pixel_scale * u.arcsec, **meta},
    )  # fmt: skip


def _read_image(path: Path, like: CombinedImage) -> NDData:
    with fits.open(path) as hdus:
        data = np.asarray(hdus["SCI"].data, dtype=float)
        error = np.asarray(hdus["ERR"].data, dtype=float) if "ERR" in hdus else None
    return _image(like, data, None if error is None else error**2)


class Run:
    """A finished reduction: its images, detections and companions, and further measurements.

    Made by `lyot.reduce` and `lyot.open`. Tables are read from the folder of the run if they belong to its reduction,
    and are measured, and kept there, when they are first asked for otherwise.

    Parameters
    ----------
    finished : FinishedRun

    Examples
    --------
    >>> run = lyot.open("reduced")  # doctest: +SKIP
    >>> run.image.data.shape, run.image.unit  # doctest: +SKIP
    """

    def __init__(self, finished: FinishedRun) -> None:
        self._finished = finished

    @property
    def out(self) -> Path:
        """Folder of the products."""
        return self._finished.out

    @property
    def products(self) -> FinishedRun:
        """Paths of the products of stage 3, and the parameters used for them."""
        return self._finished

    @cached_property
    def _opened(self) -> MeasuredRun:
        return open_run(self._finished)

    @cached_property
    def _config(self) -> Config:
        return config_of_run(self.out)

    @property
    def target(self) -> str:
        """The proposer's name of the science target."""
        return str(self._opened.image.primary.get("TARGPROP", "")).strip()

    @property
    def filter(self) -> str:
        """Filter."""
        return str(self._opened.image.primary.get("FILTER", "")).strip()

    @property
    def rolls(self) -> int:
        """Number of combined science exposures."""
        return len(self._finished.calints)

    @cached_property
    def image(self) -> NDData:
        """Star-subtracted image, north up and east left: data (ny, nx) in MJy/sr, standard deviation, mask, WCS.

        Pixels without data are NaN and True in the mask; ``meta["star"]`` is the 0-based pixel (x, y) of the star.
        """
        return _read_image(self._finished.i2d, self._opened.image)

    @cached_property
    def refined(self) -> NDData | None:
        """Image of the second pass, with detected sources masked in the fit of the star; None without a second pass."""
        path = self._finished.refined
        return None if path is None or not path.is_file() else _read_image(path, self._opened.image)

    def _read(self, name: str) -> QTable | None:
        path = self._finished.measured / name
        return QTable(read_ecsv(path)) if path.is_file() and is_current(path, self.out) else None

    @cached_property
    def detections(self) -> QTable:
        """Detections by decreasing S/N, then candidates: separation, position angle, S/N, false-alarm probability.

        A candidate (column ``status``) may be noise: see `lyot.measure.DetectionParams.max_false_alarm`.
        """
        found = self._read(DETECTIONS)
        if found is None:
            search(self._opened, self._config.measure)
            found = self._read(DETECTIONS)
        return QTable() if found is None else found[is_source(found)]

    @cached_property
    def companions(self) -> QTable:
        """Sources fitted with forward models: flux, position and contrast with total and statistical errors."""
        found = self._read(COMPANIONS)
        if found is not None:
            return found
        config = self._config
        places = places_to_fit(self._opened, config.companion) if len(self.detections) else config.companion.guesses()
        if not places:
            return QTable()
        table, _ = measure_companions(
            self._opened, places, self._star(), config.companion, systematics=config.systematics,
            distance=config.star.distance, masses=config.contrast.mass_grid(self._opened.sequence.coronagraph),
        )  # fmt: skip
        return QTable(table)

    @cached_property
    def contrast(self) -> QTable:
        """Detection limits as a function of separation, by injection and recovery through the reduction."""
        found = self._read(CONTRAST)
        if found is not None:
            return found
        config = self._config
        masses = config.contrast.mass_grid(self._opened.sequence.coronagraph)
        table = measure_contrast(
            self._opened, self._star(), config.contrast, distance=config.star.distance, masses=masses
        )  # fmt: skip
        return QTable(table)

    def _star(self) -> Any:
        return load_star(self._config.star, self._opened.sequence.coronagraph)

    def inject(self, *, flux: Value, separation: Value, position_angle: Value) -> InjectedRun:
        """Repeat the reduction with a point source added to the calibrated exposures.

        Parameters
        ----------
        flux : float or Quantity
            Before the mask, Jy.
        separation : float or Quantity
            From the star, arcsec.
        position_angle : float or Quantity
            East of north, degrees.

        Returns
        -------
        InjectedRun
            With `image`, and `fit` to measure what was put in.

        Raises
        ------
        InputError
            If a value cannot be used, or the reduction cannot be repeated.
        """
        r = number(separation, u.arcsec, "separation")
        t = number(position_angle, u.deg, "position_angle")
        source = (r, t, number(flux, u.Jy, "flux"))
        return InjectedRun(self, (source,))

    def fit(self, *, separation: Value, position_angle: Value) -> QTable:
        """Fit a companion near a position; nothing is written.

        Parameters
        ----------
        separation : float or Quantity
            Guess, arcsec.
        position_angle : float or Quantity
            Guess, east of north, degrees.

        Returns
        -------
        QTable
            One row, with the columns of `companions`.
        """
        guess = (number(separation, u.arcsec, "separation"), number(position_angle, u.deg, "position_angle"))
        config = self._config
        fitted = fit_run(self._opened, [guess], self._star(), config.companion, systematics=config.systematics)
        return QTable(fitted.table)

    def plot_image(self, ax: Axes | None = None, *, radius: Value | None = None) -> Axes:
        """Plot the image with star and detections; offsets in arcsec from the star.

        Parameters
        ----------
        ax : Axes, optional
            A new figure's by default.
        radius : float or Quantity, optional
            Half width of what is shown, arcsec; wide enough for the detections by default.

        Returns
        -------
        Axes
        """
        from lyot.analysis.combined_image import is_candidate
        from lyot.report import figures

        ax = _axes(ax)
        found = self.detections
        places = [(row["separation"].to_value("arcsec"), row["position_angle"].to_value("deg")) for row in found]
        half = max([3.0, *(1.25 * r for r, _ in places)]) if radius is None else number(radius, u.arcsec, "radius")
        scale = self._opened.image.pixel_scale
        view = figures.View(self._opened.image.center, (scale, scale), 0.0, half)
        data = self.image.data
        y, x = np.indices(data.shape)
        near = np.hypot(x - view.center[0], y - view.center[1]) * scale <= half
        limits = figures.symmetric_limits(data[near & np.isfinite(data)], 99.7)
        figures.draw_image(ax, data, view=view, label="MJy/sr", cmap="RdBu_r", limits=limits)
        figures.mark_star(ax, color=figures.DARK_INK)
        for n, ((r, t), unsure) in enumerate(zip(places, is_candidate(found), strict=True), start=1):
            figures.mark_source(
                ax, float(r), float(t), label=str(n), radius=max(0.09 * half, 0.15), unsure=bool(unsure)
            )
        ax.set_title(f"{self.target} {self.filter}")
        return ax

    def plot_contrast(self, ax: Axes | None = None) -> Axes:
        """Plot the detection limits: contrast, or flux if the stellar flux is unknown.

        Parameters
        ----------
        ax : Axes, optional
            A new figure's by default.

        Returns
        -------
        Axes
        """
        from lyot.report import figures

        ax = _axes(ax)
        table = self.contrast
        known = np.isfinite(np.asarray(table["contrast_5sigma"], dtype=float)).any()
        name, unit = ("contrast_5sigma", "") if known else ("flux_5sigma", "Jy")
        separation = table["separation"].to_value("arcsec")

        def values(column: str) -> Any:
            return np.asarray(u.Quantity(table[column]).to_value(unit), dtype=float)

        figures.draw_contrast(ax, {f"{table.meta.get('sigma', 5):g} sigma": (separation, values(name))})
        ax.fill_between(separation, values(f"{name}_low"), values(f"{name}_high"), alpha=0.2, lw=0)
        if not known:
            ax.set_ylabel("flux [Jy]")
        ax.set_title(f"{self.target} {self.filter}")
        return ax

    def _facts(self) -> list[tuple[str, str]]:
        found = self.detections
        first = ""
        if len(found):
            row = found[0]
            r, t = row["separation"].to_value("arcsec"), row["position_angle"].to_value("deg")
            first = f"; the first at separation {position_text(r, t)}, S/N {snr_text(float(row['snr']))}"
        return [
            ("target", self.target),
            ("filter", self.filter),
            ("science exposures", str(self.rolls)),
            ("KL modes", str(self._opened.image.primary.get("KLMODES", ""))),
            ("detected sources", f"{len(found)}{first}"),
            ("folder", str(self.out)),
        ]

    def __repr__(self) -> str:
        return "<lyot.Run: " + ", ".join(f"{name} {value}" for name, value in self._facts()) + ">"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td style='text-align:left'>{html.escape(value)}"
            "</td></tr>"
            for name, value in self._facts()
        )
        report = self.out / "report" / "index.html"
        link = f"<p><a href='{html.escape(str(report))}'>report</a></p>" if report.is_file() else ""
        return f"<table>{rows}</table>{link}"


class InjectedRun(Run):
    """A reduction with sources added to the calibrated exposures, from `Run.inject`; nothing is written.

    Parameters
    ----------
    base : Run
        The run without the injected sources.
    sources : tuple of (separation, position angle, flux)
        Injected sources: arcsec, degrees east of north, Jy before the mask.
    """

    def __init__(self, base: Run, sources: tuple[tuple[float, float, float], ...]) -> None:
        super().__init__(base.products)
        self._base = base
        self.sources = sources

    @cached_property
    def _opened(self) -> MeasuredRun:
        base = self._base._opened
        injector = base.sequence.injector
        frames = injector.science
        for separation, angle, flux in self.sources:
            east, north = (float(v) for v in sky_offset(separation, angle))
            frames = frames + flux * injector.signal(east, north)
        changed = dataclasses.replace(base.sequence, injector=dataclasses.replace(injector, science=frames))
        image = dataclasses.replace(base.image, data=changed.injector.image)
        return dataclasses.replace(base, reduction=changed, image=image)

    @cached_property
    def image(self) -> NDData:
        """Star-subtracted image including the injected sources; see `Run.image`."""
        plain = self._base.image.uncertainty
        variance = None if plain is None else plain.array**2
        return _image(self._opened.image, self._opened.image.data, variance, injected=self.sources)

    @property
    def refined(self) -> NDData | None:
        """None: the second pass is not repeated."""
        return None

    @cached_property
    def detections(self) -> QTable:
        """Detections in the image with the injected sources; nothing is written."""
        table = QTable(search_sources(self._opened, self._config.measure).table)
        return table[is_source(table)]

    @cached_property
    def companions(self) -> QTable:
        """Measurements of the injected sources."""
        config = self._config
        guesses = [(r, t) for r, t, _ in self.sources]
        fitted = fit_run(self._opened, guesses, self._star(), config.companion, systematics=config.systematics)
        return QTable(fitted.table)

    @property
    def contrast(self) -> QTable:
        """Detection limits of the run without the injected sources."""
        return self._base.contrast


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6, 5))[1]
