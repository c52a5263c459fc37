"""Companions: flux and position by forward modeling through the reduction, with errors from the residuals.

The residuals around the source are whitened with their own covariance (`lyot.measure.covariance`); the model of a
source at any position comes from forward models on a lattice around the guess (`lyot.measure.forward`); the whole
circle around the guess is looked at, so that no maximum is missed (`lyot.measure.posterior`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lyot.errors import InputError, ReductionError
from lyot.geometry import offset_grid, radius_map, sky_offset
from lyot.measure.companion_result import Alternative, Companion
from lyot.measure.covariance import (
    CORRELATION_REACH,
    PRIOR_ELEMENTS,
    RING_WIDTH,
    BoolArray,
    RadialNoise,
    StampGeometry,
    StampNoise,
    correlation,
    inflation,
    radial_noise,
    stamp_covariance,
    template_scale,
)
from lyot.measure.distributions import normal_isf, t_sf
from lyot.measure.forward import ForwardLattice, WhiteModels, forward_lattice, rough_flux
from lyot.measure.injection import FloatArray, Injector
from lyot.measure.local_noise import local_noise, speckle_shape
from lyot.measure.noise import aperture_sums, upper_limit
from lyot.measure.posterior import Mode, Sampling, find_modes, sample_posterior
from lyot.params import param
from lyot.written import position_text

log = logging.getLogger(__name__)

__all__ = ["Alternative", "Companion", "CompanionParams", "fit_companion", "fit_companions"]


@dataclass(frozen=True)
class CompanionParams:
    """How companions are fitted.

    Examples
    --------
    >>> CompanionParams(posterior=False).search_radius  # lambda/D around the guess
    1.0
    """

    fit_radius: float = param(1.5, help="radius of the fitted region, resolution elements", min=0.5)
    search_radius: float = param(
        1.0,
        help="radius of the circle around the guess in which the position is searched (flat prior)",
        unit="lambda/D",
        min=0.0,
    )
    iterations: int = param(3, help="number of iterations of fit and noise estimate", min=1)
    posterior: bool = param(True, help="sample the posterior with emcee, in addition to the grid")
    walkers: int = param(32, help="number of walkers of the sampler", min=8)
    steps: int = param(800, help="number of steps of the sampler; the first quarter is discarded as burn-in", min=40)
    seed: int = param(1, help="random seed of the sampler", min=0)
    limit_snr: float = param(5.0, help="S/N below which an upper limit is also reported", min=0.0)


LEAST_RADIUS = 1.5
"""Smallest circle of positions, pixels."""

LEAST_PIXELS = 12
"""Fewest pixels that are fitted."""

LEAST_KNOWN = 0.4
"""Least part of the pixels around a source whose noise other pixels must tell; else the fitted pixels tell it too."""


@dataclass(frozen=True)
class _Fit:
    """One alternation: the noise, and what follows from it."""

    white: WhiteModels
    noise: StampNoise
    scale: float
    modes: tuple[Mode, ...]

    @property
    def inflation(self) -> float:
        """Factor on the noise because its scale is determined from few positions: that of Student's t."""
        return inflation(self.noise.elements)


def fit_companions(
    injector: Injector,
    fwhm: float,
    guesses: Sequence[tuple[float, float]],
    params: CompanionParams | None = None,
) -> tuple[Companion, ...]:
    """Fit companions near initial positions; each is fitted with the others subtracted, until convergence.

    Parameters
    ----------
    injector : Injector
        The reduction.
    fwhm : float
        Resolution element, pixels.
    guesses : sequence of (separation, position angle)
        arcsec and degrees east of north.
    params : CompanionParams, optional

    Returns
    -------
    tuple of Companion
        In the order of the guesses.

    Raises
    ------
    InputError
        If a guess is not on the data.

    Examples
    --------
    A source of flux 3 at 1.0 arcsec east and 0.5 arcsec north, in white noise that no reduction changes:

    >>> import numpy as np
    >>> from lyot.measure import CompanionParams, Injector, fit_companions
    >>> y, x = np.indices((61, 61)) - 30.0
    >>> def psf(exposure, east, north):
    ...     return np.exp(-((x + east / 0.11) ** 2 + (y - north / 0.11) ** 2) / 4)
    >>> noise = np.random.default_rng(1).normal(scale=0.1, size=(1, 61, 61))
    >>> science = noise + 3 * psf(0, 1.0, 0.5)
    >>> injector = Injector(science, np.zeros(1, int), psf, lambda frames: frames, center=(30, 30), pixel_scale=0.11)
    >>> (found,) = fit_companions(injector, 4.0, [(1.1, 65.0)], CompanionParams(posterior=False))
    >>> bool(abs(found.flux - 3) < 3 * found.flux_error), bool(found.flux_error < 0.1)
    (True, True)
    >>> bool(abs(found.east - 1.0) < 0.01), bool(abs(found.north - 0.5) < 0.01)
    (True, True)
    """
    p = params or CompanionParams()
    if not guesses:
        raise InputError("companions: expected at least one guess (separation, position angle).")
    found: list[Companion | None] = [None] * len(guesses)
    rounds = 1 if len(guesses) == 1 else 2
    for turn in range(rounds):
        last = turn == rounds - 1
        for i, guess in enumerate(guesses):
            others = [c.model for j, c in enumerate(found) if c is not None and j != i]
            start = guess if found[i] is None else (found[i].separation, found[i].position_angle)  # type: ignore[union-attr]
            found[i] = fit_companion(
                injector, fwhm, start, replace(p, posterior=p.posterior and last), others=sum(others, 0.0)
            )
    return tuple(c for c in found if c is not None)


def fit_companion(
    injector: Injector,
    fwhm: float,
    guess: tuple[float, float],
    params: CompanionParams | None = None,
    *,
    others: FloatArray | float = 0.0,
) -> Companion:
    """Fit one companion.

    Parameters
    ----------
    injector, fwhm, params
        As for `fit_companions`.
    guess : (separation, position angle)
        arcsec, degrees.
    others : (Ny, Nx) float array, optional
        Model of other sources, taken out first.

    Returns
    -------
    Companion
    """
    p = params or CompanionParams()
    image = injector.image - others
    east, north = (float(v) for v in sky_offset(*guess))
    middle = injector.pixel(east, north)
    radius = max(p.search_radius * fwhm, LEAST_RADIUS)
    start = _peak_near(image, middle, fwhm, radius, guess)
    reference = rough_flux(injector, fwhm, start, image=image)
    lattice = forward_lattice(
        injector, middle, radius=radius, reach=p.fit_radius * fwhm, fwhm=fwhm, flux=-reference
    )  # fmt: skip
    theta = np.array([reference, start[0] - middle[0], start[1] - middle[1]])
    model = _model(injector, lattice, theta, -reference)
    speckles = injector.speckles
    shape = None if speckles is None else speckle_shape(speckles, injector.center, fwhm)
    setting = _Setting(injector, fwhm, lattice, shape, p)
    for _ in range(p.iterations):
        fit = _alternate(image, model, theta, setting)
        theta = fit.modes[0].mean
        model = _model(injector, lattice, theta, -reference)
    return _described(injector, fit, model, p)


def _peak_near(
    image: FloatArray, middle: tuple[float, float], fwhm: float, radius: float, guess: tuple[float, float]
) -> tuple[float, float]:
    """The brightest aperture within `radius` pixels of the guess, (x, y)."""
    dx, dy = offset_grid((image.shape[0], image.shape[1]), middle)
    near = np.hypot(dx, dy) <= radius
    if not np.isfinite(image[near]).any():
        raise InputError(f"guess at separation {position_text(guess[0], guess[1])}: no data at this position.")
    sums = np.where(near, aperture_sums(image, fwhm), -np.inf)
    iy, ix = np.unravel_index(int(np.argmax(np.nan_to_num(sums, nan=-np.inf))), sums.shape)
    return float(ix), float(iy)


def _model(injector: Injector, lattice: ForwardLattice, theta: FloatArray, flux: float) -> FloatArray:
    """The source in the whole combined image, 0 where that has no data."""
    position = injector.sky(lattice.middle[0] + theta[1], lattice.middle[1] + theta[2])
    return np.asarray(theta[0] * np.nan_to_num(injector.forward(*position, flux=flux)))


@dataclass(frozen=True)
class _Setting:
    """What the alternations share."""

    injector: Injector
    fwhm: float
    lattice: ForwardLattice
    speckle_shape: FloatArray | None
    params: CompanionParams


def _alternate(image: FloatArray, model: FloatArray, theta: FloatArray, setting: _Setting) -> _Fit:
    """Noise from the residuals of the last fit, then a new fit of the pixels around its position."""
    lattice, fwhm, center = setting.lattice, setting.fwhm, setting.injector.center
    place = (lattice.middle[0] + float(theta[1]), lattice.middle[1] + float(theta[2]))
    shape = (image.shape[0], image.shape[1])
    near = radius_map(shape, place) <= setting.params.fit_radius * fwhm
    rows, columns = np.nonzero(near & np.isfinite(image))
    if len(rows) < LEAST_PIXELS:
        raise InputError("the companion lies at the edge of the data: too few pixels to fit.")
    residual = image - model
    separation = np.hypot(place[0] - center[0], place[1] - center[1])
    ring = np.abs(radius_map(shape, center) - separation) <= RING_WIDTH * fwhm
    radial = local_noise(residual, setting.speckle_shape, center, near, fwhm, ring=ring)
    known = np.isfinite(radial.sigma + radial.mean)[rows, columns]
    if known.sum() < max(LEAST_PIXELS, LEAST_KNOWN * len(rows)):
        radial = radial_noise(residual, center, np.zeros(shape, bool), width=1.0 * fwhm)
        known = np.isfinite(radial.sigma + radial.mean)[rows, columns]
    rows, columns = rows[known], columns[known]
    geometry = StampGeometry(rows, columns, (round(place[0]), round(place[1])), center, fwhm)
    flat = residual - radial.mean
    noise = _noise(flat, radial, geometry, near)
    usable = np.isfinite(flat) & np.isfinite(radial.sigma) & ~near
    scale, elements = template_scale(flat, radial, noise, model[rows, columns], geometry, usable)
    noise = replace(noise, scale=scale, elements=elements)
    stamps = lattice.stamps(rows, columns)
    white = noise.whiten(stamps.reshape(-1, len(rows))).reshape(stamps.shape)
    models = WhiteModels(lattice, white, noise.whiten((image - radial.mean)[rows, columns]))
    total = scale * inflation(elements)
    return _Fit(models, noise, total, find_modes(models, total))


def _noise(flat: FloatArray, radial: RadialNoise, geometry: StampGeometry, near: BoolArray) -> StampNoise:
    shape = (flat.shape[0], flat.shape[1])
    dx, dy = offset_grid(shape, geometry.center)
    annulus = np.abs(np.hypot(dx, dy) - geometry.radius) <= RING_WIDTH * geometry.fwhm
    use = annulus & ~near & np.isfinite(flat) & np.isfinite(radial.sigma)
    if use.sum() < 50:
        use = annulus & np.isfinite(flat) & np.isfinite(radial.sigma)
    if use.sum() < 20:
        raise ReductionError("too few pixels with data at the separation of the companion to determine its noise.")
    z = np.where(use, flat / np.where(radial.sigma > 0, radial.sigma, 1.0), 0.0)
    rho = correlation(z, use, CORRELATION_REACH * geometry.fwhm)
    return stamp_covariance(radial, rho, geometry)


def _described(injector: Injector, fit: _Fit, model: FloatArray, p: CompanionParams) -> Companion:
    best, lattice, white = fit.modes[0], fit.white.lattice, fit.white
    share = np.array([m.probability for m in fit.modes])
    share = share / share.sum()
    covariance = np.zeros((3, 3))
    for weight, mode in zip(share, fit.modes, strict=True):
        apart = mode.mean - best.mean
        covariance += weight * (mode.covariance + np.outer(apart, apart))
    to_sky = np.diag([1.0, -injector.pixel_scale, injector.pixel_scale])
    covariance = to_sky @ covariance @ to_sky
    flux = float(best.mean[0])
    east, north = _on_sky(injector, lattice, best.mean)
    error = float(np.sqrt(covariance[0, 0]))
    snr = flux / error
    height = float(best.best[0] * np.sqrt(np.sum(white.at(best.best[1], best.best[2])[0] ** 2)))
    left = white.data - best.best[0] * white.at(best.best[1], best.best[2])[0]
    others = sorted(zip(share[1:], fit.modes[1:], strict=True), key=lambda pair: -pair[0])
    return Companion(
        east=east,
        north=north,
        flux=flux,
        covariance=covariance,
        snr=snr,
        significance=float(
            normal_isf(t_sf(height / fit.noise.scale, fit.noise.elements + PRIOR_ELEMENTS))
        ),
        elements=fit.noise.elements,
        noise_scale=fit.noise.scale,
        reduced_chi2=float(left @ left) / max(len(left) - 3, 1),
        shape_error=_shape_error(float(left @ left) / fit.scale**2, len(left) - 3, height / fit.scale),
        samples=_samples(injector, fit, p) if p.posterior else None,
        upper_limit=upper_limit(flux, error) if snr < p.limit_snr else np.nan,
        throughput_gradient=_throughput_gradient(injector, east, north),
        model=model,
        alternatives=tuple(
            Alternative(*_on_sky(injector, lattice, m.mean), float(m.mean[0]), float(weight)) for weight, m in others
        ),
    )  # fmt: skip


def _shape_error(chi2: float, degrees: int, height: float) -> float:
    """Part of a source's model that the residuals hold beyond noise, see `Companion.shape_error`.

    `chi2` and `height`, the S/N of the model's amplitude, are in units of the noise as it was scaled. What a model of
    another shape changes in the flux is of the order of what it leaves: the residuals are the part of the difference
    that no flux explains, and the flux took the other part.
    """
    if degrees < 1 or height <= 0:
        return 0.0
    expected = degrees + 2 * np.sqrt(2 * degrees)  # two sigmas above the mean of chi2: noise alone stays below
    return float(np.sqrt(max(chi2 - expected, 0.0)) / height)


def _on_sky(injector: Injector, lattice: ForwardLattice, theta: FloatArray) -> tuple[float, float]:
    east, north = injector.sky(lattice.middle[0] + theta[1], lattice.middle[1] + theta[2])
    return float(east), float(north)


def _throughput_gradient(injector: Injector, east: float, north: float) -> FloatArray:
    """Relative change of a source's light on the detector per arcsec (east, north)."""
    h = 0.03

    def light(e: float, n: float) -> float:
        return float(np.mean([injector.psf(int(x), e, n).sum() for x in np.unique(injector.exposure)]))

    middle = light(east, north)
    return np.array(
        [(light(east + h, north) - light(east - h, north)), (light(east, north + h) - light(east, north - h))]
    ) / (2 * h * middle)


def _samples(injector: Injector, fit: _Fit, p: CompanionParams) -> FloatArray:
    chain = sample_posterior(fit.white, fit.modes, fit.scale, Sampling(p.walkers, p.steps, p.seed))
    origin = np.array(injector.sky(*fit.white.lattice.middle))
    return np.column_stack([chain[:, 0], origin + chain[:, 1:] * injector.pixel_scale * np.array([-1.0, 1.0])])
