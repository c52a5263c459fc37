"""A planet at the detection limit, in an image of its own: what can just be seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lyot.analysis.finished_run import MeasuredRun
from lyot.geometry import position_angle, sky_offset
from lyot.measure.contrast import ContrastCurve

INJECTED_AT = 1.0
"""Separation of the planet, arcsec."""


def planet_at_the_limit(
    run: MeasuredRun, curve: ContrastCurve, sources: Sequence[tuple[float, float, float]]
) -> tuple[float, float, float, NDArray[np.float64]] | None:
    """The reduction of the run with a planet at the limit, to show what can just be detected.

    The planet is at `INJECTED_AT`, and at the position angle that is farthest from the boundaries of the mask in all
    rolls and from known sources.

    Parameters
    ----------
    run : MeasuredRun
    curve : ContrastCurve
    sources : sequence of (east, north, flux)
        arcsec, Jy; see `known_sources`.

    Returns
    -------
    separation, position_angle, flux : float
        arcsec, degrees east of north, Jy.
    image : (Ny, Nx) float64 ndarray
        MJy/sr, NaN where there are no data.

    None where there is no limit at that separation.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        logarithm = np.interp(
            np.log(INJECTED_AT), np.log(curve.separation), np.log(curve.flux_limit), left=np.nan, right=np.nan
        )
    flux = float(np.exp(logarithm))
    if not np.isfinite(flux):
        return None
    angles = np.arange(0.0, 360.0, 2.0)
    east, north = sky_offset(INJECTED_AT, angles)
    mask = run.sequence.coronagraph
    # boundaries of the quadrants, or the bar that holds the Lyot spot, as directions on the detector
    lines = {"4QPM": [0.0, 90.0], "LYOT": [90.0], "ROUND": []}[mask.kind]
    directions = np.radians(mask.boundary_tilt + np.array(lines))
    distance = np.full(angles.shape, np.inf)
    for pa_y in np.unique(run.sequence.detector.pa_y):
        for direction in directions:
            line = float(position_angle(np.cos(direction), np.sin(direction), float(pa_y)))
            distance = np.minimum(distance, INJECTED_AT * np.abs(np.sin(np.radians(angles - line))))
    for e, n, _ in sources:
        distance = np.minimum(distance, np.hypot(east - e, north - n))
    best = int(np.argmax(distance))
    injector = run.sequence.injector
    signal = flux * injector.signal(float(east[best]), float(north[best]))
    image = np.asarray(injector.reduce(injector.science + signal)[injector.index])
    return INJECTED_AT, float(angles[best]), flux, image
