"""Companions: flux and position by a forward model through the reduction, with errors that come from the residuals.

The residuals around the source are whitened with their own covariance (`lyot.measure.covariance`); the model of a
source at any position comes from forward models on a grid around it (`lyot.measure.forward`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from lyot.errors import InputError, ReductionError
from lyot.geometry import offset_grid, separation_and_pa, sky_offset
from lyot.measure.covariance import (
    CORRELATION_REACH,
    PRIOR_ELEMENTS,
    RING_WIDTH,
    BoolArray,
    RadialNoise,
    StampGeometry,
    StampNoise,
    correlation,
    radial_noise,
    stamp_covariance,
    template_scale,
)
from lyot.measure.forward import ForwardGrid, derivatives, forward_grid, node_weights
from lyot.measure.injection import FloatArray, Injector
from lyot.measure.noise import aperture_sums
from lyot.measure.posterior import Sampling, sample_posterior
from lyot.params import param

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompanionParams:
    """How companions are fitted."""

    fit_radius: float = param(1.5, help="radius of the fitted region, resolution elements", min=0.5)
    search_radius: float = param(1.0, help="how far from the guess the peak is looked for", unit="lambda/D", min=0.0)
    iterations: int = param(3, help="alternations of fit and noise estimate", min=1)
    posterior: bool = param(True, help="sample the posterior (emcee) beside the linearised errors")
    walkers: int = param(32, help="walkers of the sampler", min=8)
    steps: int = param(800, help="steps of the sampler, of which the first quarter is dropped", min=40)
    seed: int = param(1, help="seed of the sampler", min=0)
    debias: bool = param(
        True,
        help="take off the mean excess of a flux whose position was fitted as well, error^2/flux: of two free "
        "coordinates the best is always the brighter",
    )
    limit_snr: float = param(5.0, help="below this S/N an upper limit is reported as well", min=0.0)


@dataclass(frozen=True)
class Companion:
    """A fitted companion; errors are statistical, see `lyot.measure.systematics` for the others.

    Attributes
    ----------
    east, north : float
        Offset from the star, arcsec.
    flux : float
        Unit of the injected sources (Jy before the mask).
    covariance : (3, 3) float64 ndarray
        Of (flux, east, north), from the linearised fit.
    snr : float
        Flux over its error.
    significance : float
        The same as Gaussian sigmas, given the number of elements that the noise is known from.
    elements : int
        Independent places at that separation from which the scale of the noise was measured.
    noise_scale : float
        Factor that was applied to the errors predicted from the correlation of the residuals.
    reduced_chi2 : float
        Of the residuals in the fitted region.
    samples : (n, 3) float64 ndarray or None
        Posterior of (flux, east, north), flat priors, not debiased.
    upper_limit : float
        95 % upper limit of the flux (flux not negative); NaN for detections.
    throughput_gradient : (2,) float64 ndarray
        Relative change of the source's light per arcsec (east, north): what an error of the star's position does.
    model : (Ny, Nx) float64 ndarray
        The fitted source in the combined image.
    """

    east: float
    north: float
    flux: float
    covariance: FloatArray
    snr: float
    significance: float
    elements: int
    noise_scale: float
    reduced_chi2: float
    samples: FloatArray | None
    upper_limit: float
    throughput_gradient: FloatArray
    model: FloatArray

    @property
    def separation(self) -> float:
        """arcsec."""
        return float(np.hypot(self.east, self.north))

    @property
    def position_angle(self) -> float:
        """Degrees east of north."""
        return float(separation_and_pa(self.east, self.north)[1])

    @property
    def flux_error(self) -> float:
        """Statistical error of the flux."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def separation_error(self) -> float:
        """Statistical error of the separation, arcsec."""
        u = np.array([self.east, self.north]) / self.separation
        return float(np.sqrt(u @ self.covariance[1:, 1:] @ u))

    @property
    def position_angle_error(self) -> float:
        """Statistical error of the position angle, degrees."""
        u = np.array([self.north, -self.east]) / self.separation
        return float(np.degrees(np.sqrt(u @ self.covariance[1:, 1:] @ u) / self.separation))


@dataclass(frozen=True)
class _Region:
    """Pixels that are fitted, with everything whitened."""

    geometry: StampGeometry
    noise: StampNoise
    stamps: FloatArray
    white_stamps: FloatArray
    white_data: FloatArray


def fit_companions(
    injector: Injector,
    fwhm: float,
    guesses: Sequence[tuple[float, float]],
    params: CompanionParams | None = None,
) -> tuple[Companion, ...]:
    """Fit companions near some guesses; each is fitted with the others taken out, until nothing changes.

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
    start = _peak_near(image, injector, fwhm, guess, p.search_radius)
    reference = _rough_flux(image, injector, fwhm, start)
    grid = forward_grid(injector, start, flux=reference)
    theta = np.array([reference, 0.0, 0.0])
    for _ in range(6):
        theta, region = _alternate(image, injector, fwhm, grid, theta, p)
        if np.abs(theta[1:]).max() <= 1.0:
            break
        step = np.clip(theta[1:], -1.5, 1.5)
        grid = forward_grid(injector, (grid.middle[0] + step[0], grid.middle[1] + step[1]), flux=reference)
        theta = np.array([theta[0], 0.0, 0.0])
    return _described(injector, grid, region, theta, p)


def _peak_near(
    image: FloatArray, injector: Injector, fwhm: float, guess: tuple[float, float], radius: float
) -> tuple[float, float]:
    """The brightest aperture within `radius` resolution elements of the guess, (x, y)."""
    east, north = (float(v) for v in sky_offset(*guess))
    x, y = injector.pixel(east, north)
    dx, dy = offset_grid((image.shape[0], image.shape[1]), (x, y))
    near = np.hypot(dx, dy) <= max(radius * fwhm, 0.8)
    if not np.isfinite(image[near]).any():
        raise InputError(f"guess {guess[0]:.3f} arcsec, {guess[1]:.1f} deg: there are no data at that position.")
    if radius == 0:
        return x, y
    sums = np.where(near, aperture_sums(image, fwhm), -np.inf)
    iy, ix = np.unravel_index(int(np.argmax(np.nan_to_num(sums, nan=-np.inf))), sums.shape)
    return float(ix), float(iy)


def _rough_flux(image: FloatArray, injector: Injector, fwhm: float, at: tuple[float, float]) -> float:
    """Flux of the source from its aperture, taking the image of an unmasked unit source for its response."""
    model = injector.signal(*injector.sky(*at))[0]
    unit = float(np.nanmax(aperture_sums(model, fwhm)))
    value = float(aperture_sums(image, fwhm)[round(at[1]), round(at[0])])
    noise = float(np.nanstd(image)) * fwhm
    return max(value if np.isfinite(value) else 0.0, noise) / unit


def _alternate(
    image: FloatArray, injector: Injector, fwhm: float, grid: ForwardGrid, theta: FloatArray, p: CompanionParams
) -> tuple[FloatArray, _Region]:
    """Noise from the residuals of the last fit, then a new fit, a few times."""
    region: _Region | None = None
    for _ in range(p.iterations):
        region = _region(image, injector, fwhm, grid, theta, p)
        theta = _gauss_newton(region, theta)
        if np.abs(theta[1:]).max() > 1.5:
            break
    assert region is not None
    return theta, region


def _region(
    image: FloatArray, injector: Injector, fwhm: float, grid: ForwardGrid, theta: FloatArray, p: CompanionParams
) -> _Region:
    """Pixels around the grid's middle, with the noise as it is when the model `theta` is taken out."""
    position = np.clip(theta[1:], -1.0, 1.0)
    model = theta[0] * np.tensordot(node_weights(position[:1], position[1:])[0], grid.models, axes=1)
    residual = image - model
    shape = (image.shape[0], image.shape[1])
    dx, dy = offset_grid(shape, grid.middle)
    near = np.hypot(dx, dy) <= p.fit_radius * fwhm
    rows, columns = np.nonzero(near & np.isfinite(image))
    if len(rows) < 12:
        raise InputError("the companion lies at the edge of the data: fewer than 12 pixels to fit.")
    geometry = StampGeometry(rows, columns, (round(grid.middle[0]), round(grid.middle[1])), injector.center, fwhm)
    radial = radial_noise(residual, injector.center, near, width=0.5 * fwhm)
    if not np.isfinite(radial.sigma[rows, columns]).all():
        radial = radial_noise(residual, injector.center, np.zeros(shape, bool), width=1.0 * fwhm)
    flat = residual - radial.mean
    noise, scale = _noise(flat, radial, geometry, near)
    stamps = grid.stamps(rows, columns)
    template = node_weights(position[:1], position[1:])[0] @ stamps
    usable = np.isfinite(flat) & np.isfinite(radial.sigma) & ~near
    scale, elements = template_scale(flat, radial, noise, template, geometry, usable)
    noise = StampNoise(noise.lower, scale, elements)
    data = (image - radial.mean)[rows, columns]
    return _Region(geometry, noise, stamps, noise.whiten(stamps), noise.whiten(data))


def _noise(flat: FloatArray, radial: RadialNoise, geometry: StampGeometry, near: BoolArray) -> tuple[StampNoise, float]:
    shape = (flat.shape[0], flat.shape[1])
    dx, dy = offset_grid(shape, geometry.center)
    annulus = np.abs(np.hypot(dx, dy) - geometry.radius) <= RING_WIDTH * geometry.fwhm
    use = annulus & ~near & np.isfinite(flat) & np.isfinite(radial.sigma)
    if use.sum() < 50:
        use = annulus & np.isfinite(flat) & np.isfinite(radial.sigma)
    if use.sum() < 20:
        raise ReductionError("too few pixels with data at the separation of the companion to tell its noise.")
    z = np.where(use, flat / np.where(radial.sigma > 0, radial.sigma, 1.0), 0.0)
    rho = correlation(z, use, CORRELATION_REACH * geometry.fwhm)
    return stamp_covariance(radial, rho, geometry.rows, geometry.columns), 1.0


def _gauss_newton(region: _Region, theta: FloatArray) -> FloatArray:
    """Least squares of flux and position (pixels from the grid's middle), damped where the chi2 would grow."""
    best, chi2 = theta, _chi2(region, theta)
    for _ in range(30):
        unit, gradient = derivatives(region.white_stamps, best)
        design = np.vstack([unit, best[0] * gradient]).T
        step = np.linalg.lstsq(design, region.white_data - best[0] * unit, rcond=None)[0]
        step[1:] = np.clip(step[1:], -0.5, 0.5)
        for damping in (1.0, 0.3, 0.1, 0.03):
            trial = best + damping * step
            if np.abs(trial[1:]).max() <= 2.0 and _chi2(region, trial) < chi2:
                break
        else:
            return best
        gain = chi2 - _chi2(region, trial)
        best, chi2 = trial, chi2 - gain
        if gain < 1e-6:
            return best
    return best


def _chi2(region: _Region, theta: FloatArray) -> float:
    model = theta[0] * (node_weights(theta[1:2], theta[2:3])[0] @ region.white_stamps)
    return float(np.sum((region.white_data - model) ** 2))


def _described(
    injector: Injector, grid: ForwardGrid, region: _Region, theta: FloatArray, p: CompanionParams
) -> Companion:
    unit, gradient = derivatives(region.white_stamps, theta)
    design = np.vstack([unit, theta[0] * gradient]).T
    scale, n = region.noise.scale, region.noise.elements
    freedom = n + PRIOR_ELEMENTS
    inflation = np.sqrt(freedom / (freedom - 2))  # the scale is itself known from a few places only: Student's t
    normal = design.T @ design
    if theta[0] == 0:
        normal[1, 1] = normal[2, 2] = 1.0
    inverse = np.linalg.inv(normal) * scale**2 * inflation**2
    to_sky = np.diag([1.0, -injector.pixel_scale, injector.pixel_scale])
    covariance = to_sky @ inverse @ to_sky
    x, y = grid.middle[0] + theta[1], grid.middle[1] + theta[2]
    east, north = injector.sky(x, y)
    weights = node_weights(theta[1:2], theta[2:3])[0]
    snr = float(theta[0] / np.sqrt(covariance[0, 0]))
    samples = _posterior(region, theta, p, injector, grid) if p.posterior else None
    return Companion(
        east=float(east),
        north=float(north),
        flux=float(theta[0]) * (1.0 - 1.0 / max(snr**2, 4.0)) if p.debias else float(theta[0]),
        covariance=covariance,
        snr=snr,
        significance=float(stats.norm.isf(stats.t.sf(snr * inflation, freedom))),
        elements=n,
        noise_scale=scale,
        reduced_chi2=_chi2(region, theta) / max(len(region.white_data) - 3, 1),
        samples=samples,
        upper_limit=_upper_limit(float(theta[0]), float(np.sqrt(covariance[0, 0]))) if snr < p.limit_snr else np.nan,
        throughput_gradient=_throughput_gradient(injector, east, north),
        model=theta[0] * np.tensordot(weights, grid.models, axes=1),
    )


def _upper_limit(flux: float, error: float, *, level: float = 0.95) -> float:
    """Flux below which the true one lies with probability `level`, given that it is not negative."""
    below_zero = stats.norm.cdf(-flux / error)
    return float(flux + error * stats.norm.ppf(below_zero + level * (1 - below_zero)))


def _throughput_gradient(injector: Injector, east: float, north: float) -> FloatArray:
    """Relative change of a source's light on the detector per arcsec (east, north)."""
    h = 0.03

    def light(e: float, n: float) -> float:
        return float(np.mean([injector.psf(int(x), e, n).sum() for x in np.unique(injector.exposure)]))

    middle = light(east, north)
    return np.array(
        [(light(east + h, north) - light(east - h, north)), (light(east, north + h) - light(east, north - h))]
    ) / (2 * h * middle)


def _posterior(
    region: _Region, theta: FloatArray, p: CompanionParams, injector: Injector, grid: ForwardGrid
) -> FloatArray:
    scale = region.noise.scale
    sampling = Sampling(p.walkers, p.steps, p.seed)
    chain = sample_posterior(region.white_data / scale, region.white_stamps / scale, theta, sampling)
    origin = np.array(injector.sky(*grid.middle))
    return np.column_stack([chain[:, 0], origin + chain[:, 1:] * injector.pixel_scale * np.array([-1.0, 1.0])])
