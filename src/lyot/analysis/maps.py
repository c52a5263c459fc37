"""Maps of a finished run: matched filter with limits and completeness, and STIM; as FITS with coordinates."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lyot import geometry
from lyot.analysis.finished_run import MeasuredRun
from lyot.analysis.measurements import known_sources, range_to_measure
from lyot.analysis.tables import write_images
from lyot.errors import ReductionError
from lyot.exposures.names import MATCHED_FILTER, STIM_MAP
from lyot.measure.matched_filter import (
    OUTER_RADIUS,
    MatchedFilter,
    MatchedFilterParams,
    matched_filter_of_sources,
    source_images,
)
from lyot.measure.stim import StimMap, stim_map
from lyot.steps.sequence_io import frames_of, geometry_of, open_exposure
from lyot.subtract.combine import NorthUpGrid, resampler
from lyot.written import flux_text, in_ascii, snr_text

log = logging.getLogger(__name__)


def measure_maps(
    run: MeasuredRun,
    params: MatchedFilterParams | None = None,
    *,
    sigma: float = 5.0,
    completeness_flux: float | None = None,
) -> MatchedFilter:
    """Compute the maps; writes `MATCHED_FILTER` and, if there are enough frames, `STIM_MAP`.

    Parameters
    ----------
    run : MeasuredRun
    params : MatchedFilterParams, optional
    sigma : float, optional
        Gaussian sigmas of the limit and of the completeness.
    completeness_flux : float, optional
        Jy; the probability that a source of this flux is found is mapped as well.

    Returns
    -------
    MatchedFilter
        Fluxes in Jy.
    """
    p = params or MatchedFilterParams()
    known, _ = known_sources(run)
    p = replace(p, outer_radius=range_to_measure(p.outer_radius, OUTER_RADIUS, known, "maps.outer_radius"))
    sequence = run.sequence
    injector = sequence.injector
    sources = source_images(injector, sequence.fwhm, p, throughput=sequence.throughput)
    maps, model, places = matched_filter_of_sources(injector.image, injector.center, sequence.fwhm, sources, p)
    for x, y in places:
        px, py, flux = maps.peak(x, y)
        log.info("matched filter: source at x %.2f, y %.2f, flux %s, S/N %s", px, py,
                 in_ascii(flux_text(flux)), snr_text(maps.snr[y, x]))  # fmt: skip
    layers = {
        "SCI": maps.snr,
        "FLUX": maps.flux,
        "FLUX_ERR": maps.flux_error,
        "LIMIT": maps.limit(sigma),
        "MODEL": model,
    }
    units = {"SCI": "", "FLUX": "Jy", "FLUX_ERR": "Jy", "LIMIT": "Jy", "MODEL": "MJy/sr"}
    if completeness_flux is not None:
        layers["COMPLETE"], units["COMPLETE"] = maps.completeness(completeness_flux, sigma), ""
    cards = {"SCI": {"LEVEL": (sigma, "[sigma] level of LIMIT, Gaussian")}, "MODEL": _source_cards(maps, places)}
    if completeness_flux is not None:
        cards["COMPLETE"] = {"CFLUX": (completeness_flux, "[Jy] flux whose completeness is mapped")}
    write_images(run, run.tables / MATCHED_FILTER, layers, units, cards)
    try:
        _write_stim(run, measure_stim(run, outer_radius=p.outer_radius))
    except ReductionError as error:
        log.info("no STIM map: %s", error)
    return maps


def _source_cards(maps: MatchedFilter, places: tuple[tuple[int, int], ...]) -> dict[str, tuple[float | int, str]]:
    """The sources that were taken out, for the header of MODEL: positions and fluxes between the pixels."""
    cards: dict[str, tuple[float | int, str]] = {"NSOURCE": (len(places), "sources subtracted for the noise")}
    for i, (x, y) in enumerate(places[:99], start=1):
        px, py, flux = maps.peak(x, y)
        cards |= {f"SRCX{i}": (px + 1, "[pixel] x, 1-based"), f"SRCY{i}": (py + 1, "[pixel] y, 1-based")}
        if np.isfinite(flux):  # not where the source leaves too few places of its ring; headers hold no NaN
            cards[f"SRCF{i}"] = (flux, "[Jy] flux at the maximum between pixels")
    return cards


def measure_stim(run: MeasuredRun, *, outer_radius: float | None = None) -> StimMap:
    """STIM map of the star-subtracted integrations (``psfsub``) of all exposures of a run.

    Parameters
    ----------
    run : MeasuredRun
    outer_radius : float, optional
        arcsec, within which the threshold is looked for.

    Raises
    ------
    ReductionError
        If there are too few integrations, or the products are not there.
    """
    injector = run.sequence.injector
    paths = [path for path in run.finished.psfsub if path.is_file()]
    if not paths:
        raise ReductionError(
            f"{run.finished.out}: the star-subtracted integrations (psfsub) are missing; rerun lyot run."
        )
    shape = (injector.image.shape[0], injector.image.shape[1])
    right, wrong = _turned(paths, NorthUpGrid(shape, injector.pixel_scale))
    dx, dy = geometry.offset_grid(shape, injector.center)
    radius = np.hypot(dx, dy)
    search = radius >= run.sequence.fwhm
    if outer_radius is not None:
        search &= radius * injector.pixel_scale <= outer_radius
    return stim_map(right, wrong, search=search)


def _turned(paths: list[Path], grid: NorthUpGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All integrations turned to north, and turned the wrong way: (n, Ny, Nx) each."""
    exposures = []
    for path in paths:
        model = open_exposure(str(path))
        exposures.append((np.asarray(frames_of(model).data, dtype=np.float64), geometry_of(model)))
    middle = float(np.mean([where.pa_y for _, where in exposures]))
    turned: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    for data, where in exposures:
        for out, pa in zip(turned, (where.pa_y, 2 * middle - where.pa_y), strict=True):
            star = np.asarray(where.star, dtype=float)
            turn = resampler(grid, star, float(pa), where.pixel_scale, (data.shape[1], data.shape[2]))
            out.append(turn.images(data))
    return np.concatenate(turned[0]), np.concatenate(turned[1])


def _write_stim(run: MeasuredRun, found: StimMap) -> None:
    cards = {"SCI": {"THRESH": (found.threshold, "maximum of INVERSE in the searched region"),
                     "NFRAMES": (found.frames, "number of integrations")}}  # fmt: skip
    write_images(run, run.tables / STIM_MAP, {"SCI": found.stim, "INVERSE": found.inverse},
                 {"SCI": "", "INVERSE": ""}, cards)  # fmt: skip
