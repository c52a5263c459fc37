"""A parametric disk fitted through mask, PSF and reduction.

Each trial ring is drawn on the sky, put on the detector of each exposure, spread with the image of a point source that
belongs to each place, and reduced, as any other model (`lyot.measure.disks`). Its flux and a constant background follow
by linear least squares; the other parameters by a trust-region search. The errors allow for noise that is correlated
between pixels: with J the derivatives and W the weights, the covariance is (J'WJ)^-1 J'W S W J (J'WJ)^-1, where S has
the correlation of the residuals.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from lyot import geometry
from lyot.errors import ReductionError
from lyot.measure.disks import (
    Detector,
    DiskFit,
    DiskImager,
    DiskModel,
    DiskParams,
    correlated_products,
    disk_imager,
    noise_by_separation,
)
from lyot.measure.injection import FloatArray, Injector, Window
from lyot.measure.ring import STEPS, RingParams, check_fitted, radial_scale, ring_image, with_values
from lyot.params import describe, param


@dataclass(frozen=True)
class RingFitParams(RingParams):
    """Starting values of a ring, and the parameters to fit.

    Examples
    --------
    >>> from lyot.measure import RingFitParams, RingParams
    >>> RingFitParams(radius=0.8, fit=("radius",)).start() == RingParams(radius=0.8)
    True
    """

    fit: tuple[str, ...] = param(
        ("radius", "inclination", "major_axis"), help="parameters of the ring to fit, in addition to its flux"
    )
    search: bool = param(
        True, help="grid search before the fit in radius, inclination and position angle, as far as these are fitted"
    )

    def start(self) -> RingParams:
        """The ring of the starting values.

        Returns
        -------
        RingParams
        """
        names = [info.name for info in describe(RingParams)]
        return RingParams(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class RingFit:
    """A fitted ring.

    Attributes
    ----------
    ring : RingParams
        With the values that fit best.
    names : tuple of str
        What was fitted: ``"flux"`` and the parameters of the ring.
    values : (k,) float64 ndarray
        In the units of the parameters; the flux in that of the injector's `psf` (Jy), before the mask.
    covariance : (k, k) float64 ndarray
        Of the values, with the noise's spatial correlation; NaN for those at a limit.
    at_limit : tuple of str
        Parameters that ended at a limit of their range: they have no error.
    fit : DiskFit
        Images, chi2 and pixels; `scale` is the flux.
    model : DiskModel
        The ring on the sky at the fitted flux.
    evaluations : int
        Rings that were drawn.
    """

    ring: RingParams
    names: tuple[str, ...]
    values: FloatArray
    covariance: FloatArray
    at_limit: tuple[str, ...]
    fit: DiskFit
    model: DiskModel
    evaluations: int

    @property
    def errors(self) -> FloatArray:
        """One sigma of each value, (k,); NaN for those at a limit."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))


ROUNDS = 3
"""Times that the noise is determined from the residuals of the last fit."""


def fit_ring(
    injector: Injector,
    detector: Detector,
    fwhm: float,
    params: RingFitParams | None = None,
    disk: DiskParams | None = None,
    *,
    wavelength: float = 15.0,
    imager: DiskImager | None = None,
) -> RingFit:
    """Fit a ring to the combined image.

    Parameters
    ----------
    injector : Injector
        The reduction, linear in the science frames (references alone in its basis).
    detector : Detector
    fwhm : float
        Resolution element, pixels of the combined image.
    params : RingFitParams, optional
        Starting values and what is fitted.
    disk : DiskParams, optional
        Radii of the fit (by default from one lambda/D to twice the ring's starting radius), background, stamps.
    wavelength : float, optional
        Of thermal light, um.
    imager : DiskImager, optional
        Images of a source that were made before, at least to the third radius of `fit_radii`.

    Returns
    -------
    RingFit

    Raises
    ------
    ReductionError
        If the reduction is not linear, too few pixels can be fitted, or the fit does not converge.
    ConfigError
        If a parameter cannot be fitted.
    InputError
        If the ring has no light in the fitted region.
    """
    p, d = params or RingFitParams(), disk or DiskParams()
    start = p.start()
    check_fitted(start, p.fit)
    scale = injector.pixel_scale
    inner, outer, half = fit_radii(p, d, fwhm * scale)
    if inner >= outer:
        raise ReductionError(f"ring: the fit ends at {outer:.2f} arcsec and begins at {inner:.2f}; set the radii.")
    if imager is None:
        imager = disk_imager(injector, detector, fwhm, half, d)
    oversample = 1 if radial_scale(start) >= 0.75 * scale else 2
    problem = _Problem.build(injector, imager, fwhm, half, (inner, outer), d, wavelength, oversample)
    values = np.array([getattr(start, name) for name in p.fit], dtype=float)
    sigma = problem.noise(np.zeros(problem.data.shape), 0.0)
    if p.search and p.fit:
        values = problem.best_start(start, p.fit, values, sigma)
    for _ in range(ROUNDS):
        unit = problem.unit(with_values(start, p.fit, values))
        flux, background = problem.linear(unit, sigma)
        sigma = problem.noise(flux * unit, background)
        if p.fit:
            values = problem.search(start, p.fit, values, sigma)
    return problem.result(start, p.fit, values, sigma)


def fit_radii(ring: RingParams, params: DiskParams, resolution: float) -> tuple[float, float, float]:
    """Radii between which a ring is fitted, and to which it is drawn, arcsec.

    Parameters
    ----------
    ring : RingParams
        With its starting values.
    params : DiskParams
    resolution : float
        lambda/D, arcsec.

    Returns
    -------
    inner, outer, drawn : float
    """
    outer = 2.0 * ring.radius + resolution if params.outer_radius is None else params.outer_radius
    inner = resolution if params.inner_radius is None else params.inner_radius
    return inner, outer, outer + 2 * resolution


@dataclass
class _Problem:
    """The data of the fit, and the ring in them; counts the rings that were drawn."""

    injector: Injector
    imager: DiskImager
    fwhm: float
    half: float
    window: Window
    data: FloatArray
    region: NDArray[np.bool_]
    radius: FloatArray
    background: bool
    wavelength: float
    oversample: int
    evaluations: int = 0

    @classmethod
    def build(
        cls,
        injector: Injector,
        imager: DiskImager,
        fwhm: float,
        half: float,
        radii: tuple[float, float],
        params: DiskParams,
        wavelength: float,
        oversample: int,
    ) -> _Problem:
        image = injector.image
        radius = geometry.radius_map((image.shape[0], image.shape[1]), injector.center)
        region = np.isfinite(image) & (radius * injector.pixel_scale >= radii[0])
        region &= radius * injector.pixel_scale <= radii[1]
        if region.sum() < 30:
            raise ReductionError(
                f"ring: {int(region.sum())} pixels with data between {radii[0]:.2f} and {radii[1]:.2f} arcsec; "
                "expected 30 or more. Set inner_radius and outer_radius."
            )
        rows, columns = (np.flatnonzero(region.any(axis=a)) for a in (1, 0))
        window = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
        return cls(
            injector, imager, fwhm, half, window, image[window], region[window], radius[window], params.background,
            wavelength, oversample,
        )  # fmt: skip

    def model(self, ring: RingParams) -> DiskModel:
        """The ring on the sky, total flux 1, with two pixels for one of the combined image."""
        scale = 0.5 * self.injector.pixel_scale
        return ring_image(ring, self.half, scale, wavelength=self.wavelength, oversample=self.oversample)

    def unit(self, ring: RingParams) -> FloatArray:
        """A ring of unit flux in the window of the combined image."""
        self.evaluations += 1
        found = self.imager.unit(self.model(ring), self.window)
        return np.asarray(np.where(self.region, np.nan_to_num(found), 0.0))

    def noise(self, model: FloatArray, background: float) -> FloatArray:
        """Scatter of what a model leaves at each separation; 0 where it is not fitted."""
        return noise_by_separation(self.data - model - background, self.region, self.radius, self.fwhm)

    def whitened(self, unit: FloatArray, sigma: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Columns (n, 1 or 2) of the linear parameters over the noise, and the data (n,) over it."""
        use = sigma > 0
        columns = [unit[use] / sigma[use]]
        if self.background:
            columns.append(1.0 / sigma[use])
        return np.stack(columns, axis=1), self.data[use] / sigma[use]

    def linear(self, unit: FloatArray, sigma: FloatArray) -> tuple[float, float]:
        """Flux and background that fit best."""
        columns, data = self.whitened(unit, sigma)
        found = np.linalg.lstsq(columns, data, rcond=None)[0]
        return float(found[0]), float(found[1]) if self.background else 0.0

    def residuals(self, ring: RingParams, sigma: FloatArray) -> FloatArray:
        """What is left over the noise, (n,), flux and background at their best."""
        columns, data = self.whitened(self.unit(ring), sigma)
        return np.asarray(data - columns @ np.linalg.lstsq(columns, data, rcond=None)[0])

    def best_start(
        self, start: RingParams, names: tuple[str, ...], values: FloatArray, sigma: FloatArray
    ) -> FloatArray:
        """The best of some rings of other radii, inclinations and position angles, with a positive flux."""
        turns = np.arange(0.0, 180.0 if start.light == "thermal" else 360.0, 30.0)
        tried = {
            "radius": [start.radius * f for f in (0.75, 1.0, 1.3)],
            "inclination": sorted({start.inclination, 30.0, 60.0, 80.0}),
            "major_axis": [start.major_axis + t for t in turns],
        }
        axes = [tried.get(name, [value]) for name, value in zip(names, values, strict=True)]
        best, lowest = values, np.inf
        for trial in itertools.product(*axes):
            candidate = np.array(trial)
            columns, data = self.whitened(self.unit(with_values(start, names, candidate)), sigma)
            found = np.linalg.lstsq(columns, data, rcond=None)[0]
            chi2 = float(((data - columns @ found) ** 2).sum())
            if found[0] > 0 and chi2 < lowest:
                best, lowest = candidate, chi2
        return best

    def search(self, start: RingParams, names: tuple[str, ...], values: FloatArray, sigma: FloatArray) -> FloatArray:
        """Values of least chi2 near some, within the parameters' limits."""
        low, high = limits(names)
        steps = np.array([STEPS[name] for name in names])

        def derivatives(at: FloatArray) -> FloatArray:
            columns = []
            for k, step in enumerate(steps):
                ends = [np.clip(at + sign * step * np.eye(len(at))[k], low, high) for sign in (-1, 1)]
                a, b = (self.residuals(with_values(start, names, end), sigma) for end in ends)
                columns.append((b - a) / (ends[1][k] - ends[0][k]))
            return np.stack(columns, axis=1)

        def left(at: FloatArray) -> FloatArray:
            return self.residuals(with_values(start, names, at), sigma)

        inside = np.clip(values, low + 1e-6 * steps, high - 1e-6 * steps)
        found = least_squares(
            left, inside, jac=derivatives, bounds=(low, high), x_scale=10 * steps, xtol=1e-4, ftol=1e-5, max_nfev=30
        )
        return np.asarray(found.x)

    def result(self, start: RingParams, names: tuple[str, ...], values: FloatArray, sigma: FloatArray) -> RingFit:
        """The fit with its images and covariance."""
        low, high = limits(names)
        steps = np.array([STEPS[name] for name in names])
        ring = with_values(start, names, values)
        unit = self.unit(ring)
        flux, background = self.linear(unit, sigma)
        if flux <= 0:
            raise ReductionError(
                "ring: the best-fit flux is not positive; there is no disk in the fitted region, or the starting "
                "values are far from it; change them."
            )
        use = sigma > 0
        weight = np.where(use, 1.0 / np.where(use, sigma, 1.0), 0.0)
        free = [k for k in range(len(names)) if low[k] + 0.1 * steps[k] < values[k] < high[k] - 0.1 * steps[k]]
        columns = [unit]
        for k in free:
            ends = [np.clip(values + sign * steps[k] * np.eye(len(names))[k], low, high) for sign in (-1, 1)]
            a, b = (self.unit(with_values(start, names, end)) for end in ends)
            columns.append(flux * (b - a) / (ends[1][k] - ends[0][k]))
        if self.background:
            columns.append(np.ones(unit.shape))
        templates = np.stack([column * weight for column in columns])
        z = np.where(use, (self.data - flux * unit - background) * weight, 0.0)
        flat = templates.reshape(len(templates), -1)
        try:
            inverse = np.linalg.inv(flat @ flat.T)
        except np.linalg.LinAlgError:
            raise ReductionError(
                f"ring: {', '.join(names)} cannot all be determined from these data; fit fewer parameters."
            ) from None
        whole = inverse @ correlated_products(templates, z, use, self.fwhm) @ inverse
        correlation = float(whole[0, 0] / inverse[0, 0])
        pixels = int(use.sum())
        independent = pixels / max(correlation, 1.0)
        if independent <= len(columns) + 1:
            raise ReductionError(
                f"ring: {len(columns)} parameters and about {independent:.0f} independent pixels; fit fewer parameters "
                "or a larger region."
            )
        whole = whole * independent / (independent - len(columns))
        kept = [0, *(1 + k for k in free)]
        covariance = np.full((1 + len(names), 1 + len(names)), np.nan)
        covariance[np.ix_(kept, kept)] = whole[: 1 + len(free), : 1 + len(free)]
        fit = self._images(ring, flux, background, float(np.sqrt(whole[0, 0])), (z, use), correlation)
        model = self.model(ring)
        shown = _turned(ring)
        return RingFit(
            ring=shown, names=("flux", *names), values=np.array([flux, *(getattr(shown, n) for n in names)]),
            covariance=covariance, at_limit=tuple(n for k, n in enumerate(names) if k not in free), fit=fit,
            model=replace(model, image=flux * model.image), evaluations=self.evaluations,
        )  # fmt: skip

    def _images(
        self,
        ring: RingParams,
        flux: float,
        background: float,
        error: float,
        fitted: tuple[FloatArray, NDArray[np.bool_]],
        correlation: float,
    ) -> DiskFit:
        """The fit in the whole of the combined image."""
        z, use = fitted
        image = self.injector.image
        model = flux * self.imager.unit(self.model(ring))
        region = np.zeros(image.shape, dtype=bool)
        region[self.window] = use
        return DiskFit(flux, error, model, image - model, background, float((z**2).sum()), region, correlation)


def limits(names: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
    """Ranges of parameters of a ring, (k,) each; infinite where they have none."""
    infos = {info.name: info for info in describe(RingParams)}
    low = [-np.inf if infos[n].min is None else float(infos[n].min or 0.0) for n in names]
    high = [np.inf if infos[n].max is None else float(infos[n].max or 0.0) for n in names]
    return np.array(low), np.array(high)


def _turned(ring: RingParams) -> RingParams:
    """The same ring with its position angle below 360 degrees, or below 180 where near and far side look alike."""
    alike = ring.light == "thermal" and ring.offset_minor == 0 and ring.offset_major == 0
    return replace(ring, major_axis=ring.major_axis % (180.0 if alike else 360.0))
