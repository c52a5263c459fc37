"""A fitted companion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lyot.geometry import separation_and_pa
from lyot.measure.injection import FloatArray

AMBIGUOUS = 0.05
"""Part of the posterior outside the best maximum from which on a fit is called ambiguous."""


@dataclass(frozen=True)
class Alternative:
    """Alternative position of the source: a secondary maximum of the posterior.

    Attributes
    ----------
    east, north : float
        Offset from the star, arcsec.
    flux : float
        Unit of the injected sources.
    probability : float
        Part of the posterior that belongs to it.
    """

    east: float
    north: float
    flux: float
    probability: float


@dataclass(frozen=True)
class Companion:
    """A fitted companion; errors are statistical, see `lyot.measure.systematics` for the others.

    Attributes
    ----------
    east, north : float
        Offset from the star, arcsec.
    flux : float
        Unit of the injected sources (Jy before the mask). As the offsets, the mean of the posterior around its highest
        maximum: the flux at the best position itself is too high on average, by error^2 / flux.
    covariance : (3, 3) float64 ndarray
        Of (flux, east, north), over the whole posterior: where it has several maxima, it covers them.
    snr : float
        Flux over its error.
    significance : float
        The same as Gaussian sigmas, given the number of elements that the noise is known from.
    elements : int
        Independent places at that separation from which the scale of the noise was measured.
    noise_scale : float
        Factor that was applied to the errors predicted from the correlation of the residuals.
    reduced_chi2 : float
        Chi squared of the residuals in the fitted region, per degree of freedom.
    shape_error : float
        Relative error of the flux because the source does not look like its model: the residuals that noise does not
        explain, as a part of the model (both root mean square, over the noise); 0 where it explains all of them.
    samples : (n, 3) float64 ndarray or None
        Posterior of (flux, east, north), flat priors.
    upper_limit : float
        95 % upper limit of the flux (flux not negative); NaN for detections.
    throughput_gradient : (2,) float64 ndarray
        Relative change of the source's light per arcsec (east, north): what an error of the star's position does.
    model : (Ny, Nx) float64 ndarray
        The fitted source in the combined image.
    alternatives : tuple of Alternative
        Other maxima of the posterior, the most probable first.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import CompanionParams, Injector, fit_companions
    >>> y, x = np.indices((81, 81)) - 40.0
    >>> def psf(exposure, east, north):
    ...     return np.exp(-((x + east / 0.11) ** 2 + (y - north / 0.11) ** 2) / 4)
    >>> noise = np.random.default_rng(1).normal(scale=0.1, size=(1, 81, 81))
    >>> frames = noise + psf(0, 1.1, 0.0)
    >>> injector = Injector(frames, np.zeros(1, int), psf, lambda frames: frames, center=(40, 40), pixel_scale=0.11)
    >>> (found,) = fit_companions(injector, 4.0, [(1.1, 90.0)], params=CompanionParams(posterior=False))
    >>> round(found.separation, 1), round(found.position_angle), bool(abs(found.flux - 1) < 3 * found.flux_error)
    (1.1, 90, True)
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
    shape_error: float = 0.0
    alternatives: tuple[Alternative, ...] = ()

    @property
    def ambiguous(self) -> bool:
        """Whether another position is also probable (`alternatives`)."""
        return sum(a.probability for a in self.alternatives) > AMBIGUOUS

    @property
    def separation(self) -> float:
        """Separation from the star, arcsec."""
        return float(np.hypot(self.east, self.north))

    @property
    def position_angle(self) -> float:
        """Position angle, degrees east of north."""
        return float(separation_and_pa(self.east, self.north)[1])

    @property
    def flux_error(self) -> float:
        """Statistical error of the flux, unit of `flux`."""
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
