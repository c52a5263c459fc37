"""Posterior of a companion's flux and position: on a mesh of positions, where the flux follows in closed form.

For given whitened data d and a model m(x, y) of unit flux, the posterior of the flux at a position is a Gaussian of
mean ``m.d / m.m`` and variance ``s^2 / m.m``, cut at zero; what the position itself is worth is the integral over the
flux. On a mesh this is the whole posterior, with all its maxima: close to a boundary of a four-quadrant mask a faint
source on one side looks much like a brighter one on the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from lyot.measure.forward import WhiteModels
from lyot.measure.injection import FloatArray

MESH = 41
"""Points of the mesh across the prior's circle, and across each maximum."""

REACH = 5.0
"""Half-width of the mesh around a maximum, sigmas of its position."""

LEAST = 1e-3
"""Maxima that hold less of the posterior than this are left out."""


@dataclass(frozen=True)
class Mode:
    """One maximum of the posterior, pixels from the lattice's middle.

    Attributes
    ----------
    best : (3,) float64 ndarray
        Flux, x, y of the highest likelihood.
    mean : (3,) float64 ndarray
        Mean of the posterior around it.
    covariance : (3, 3) float64 ndarray
    probability : float
        Part of the posterior that belongs to it.
    """

    best: FloatArray
    mean: FloatArray
    covariance: FloatArray
    probability: float


@dataclass(frozen=True)
class Points:
    """Posterior at some positions: flat priors in position (a circle) and flux (not negative).

    Attributes
    ----------
    x, y : (n,) float64 ndarray
        Pixels from the lattice's middle.
    log_weight : (n,) float64 ndarray
        Logarithm of the probability of the cell, up to a constant.
    flux, sigma : (n,) float64 ndarray
        Mean and standard deviation of the Gaussian of the flux, before the cut at zero.
    """

    x: FloatArray
    y: FloatArray
    log_weight: FloatArray
    flux: FloatArray
    sigma: FloatArray

    def moments(self) -> tuple[FloatArray, FloatArray]:
        """Mean and covariance of (flux, x, y)."""
        weight = np.exp(self.log_weight - self.log_weight.max())
        weight /= weight.sum()
        t = self.flux / self.sigma
        hazard = np.exp(-0.5 * t**2 - 0.5 * np.log(2 * np.pi) - special.log_ndtr(t))
        flux = self.flux + self.sigma * hazard
        variance = self.sigma**2 * np.clip(1 - hazard * (hazard + t), 0.0, 1.0)
        theta = np.stack([flux, self.x, self.y])
        mean = theta @ weight
        apart = theta - mean[:, None]
        covariance = (apart * weight) @ apart.T
        covariance[0, 0] += float(weight @ variance)
        return np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)


def mesh_points(white: WhiteModels, x: FloatArray, y: FloatArray, scale: float) -> Points:
    """The posterior on a mesh (len(y) x len(x) points); positions outside the lattice's radius have no weight.

    Parameters
    ----------
    white : WhiteModels
    x, y : (m,) float64 ndarray
        Even steps, pixels from the lattice's middle.
    scale : float
        Factor on the noise.
    """
    product, square = white.match(x, y)
    square = np.maximum(square, 1e-300)
    sigma = scale / np.sqrt(square)
    flux = product / square
    t = flux / sigma
    cell = (x[1] - x[0]) * (y[1] - y[0])
    log_weight = 0.5 * t**2 + special.log_ndtr(t) + np.log(sigma) + np.log(cell)
    gx, gy = np.meshgrid(x, y)
    log_weight = np.where(np.hypot(gx, gy) <= white.lattice.radius, log_weight, -np.inf)
    return Points(gx.ravel(), gy.ravel(), log_weight.ravel(), flux.ravel(), sigma.ravel())


def best_fit(white: WhiteModels, theta: FloatArray) -> FloatArray:
    """Least squares of (flux, x, y) from a start, inside the lattice's radius; damped where the chi2 would grow."""
    radius = white.lattice.radius

    def chi2(t: FloatArray) -> float:
        return float(np.sum((white.data - t[0] * white.at(t[1], t[2])[0]) ** 2))

    best, value = np.array(theta, dtype=float), chi2(np.asarray(theta, dtype=float))
    for _ in range(40):
        unit, gradient = white.at(best[1], best[2])
        design = np.vstack([unit, best[0] * gradient]).T
        step = np.linalg.lstsq(design, white.data - best[0] * unit, rcond=None)[0]
        step[1:] = np.clip(step[1:], -0.5, 0.5)
        for damping in (1.0, 0.3, 0.1, 0.03):
            trial = best + damping * step
            trial[1:] *= min(1.0, radius / max(float(np.hypot(trial[1], trial[2])), 1e-9))
            new = chi2(trial)
            if new < value:
                break
        else:
            return best
        gain, best, value = value - new, trial, new
        if gain < 1e-7:
            return best
    return best


def curvature(white: WhiteModels, theta: FloatArray, scale: float) -> FloatArray:
    """Covariance of (flux, x, y) from the second derivatives at a maximum, positions held to the lattice's radius."""
    unit, gradient = white.at(theta[1], theta[2])
    design = np.vstack([unit, theta[0] * gradient]).T / scale
    normal = design.T @ design
    normal[1:, 1:] += np.eye(2) / white.lattice.radius**2
    return np.asarray(np.linalg.inv(normal), dtype=np.float64)


def find_modes(white: WhiteModels, scale: float) -> tuple[Mode, ...]:
    """All maxima of the posterior that matter, the highest likelihood first.

    Parameters
    ----------
    white : WhiteModels
    scale : float
        Factor on the noise.

    Returns
    -------
    tuple of Mode
        At least one.
    """
    radius = white.lattice.radius
    axis = np.linspace(-radius, radius, MESH)
    coarse = mesh_points(white, axis, axis, scale)
    starts = _maxima(coarse)
    best = [best_fit(white, np.array([max(coarse.flux[i], 1e-3 * coarse.sigma[i]), coarse.x[i], coarse.y[i]]))
            for i in starts]  # fmt: skip
    apart = _apart(best, white, scale)
    parts = [_points_around(white, b, scale, apart) for b in apart]
    masses = np.array([np.logaddexp.reduce(p.log_weight) for p in parts])
    share = np.exp(masses - np.logaddexp.reduce(masses))
    modes = [Mode(b, *p.moments(), float(s)) for b, p, s in zip(apart, parts, share, strict=True) if s >= LEAST]
    height = {id(m): float(m.best[0] ** 2 * np.sum(white.at(m.best[1], m.best[2])[0] ** 2)) for m in modes}
    return tuple(sorted(modes, key=lambda m: -height[id(m)]))


def _maxima(points: Points) -> NDArray[np.intp]:
    """Local maxima of the likelihood on the coarse mesh, the highest first; at most six."""
    t = np.where(np.isfinite(points.log_weight), points.flux / points.sigma, -np.inf).reshape(MESH, MESH)
    peak = (t == ndimage.maximum_filter(t, size=3, mode="constant", cval=-np.inf)) & (t > max(float(t.max()) - 6, -9))
    index = np.flatnonzero(peak)
    return np.asarray(index[np.argsort(-t.ravel()[index])][:6])


def _apart(best: list[FloatArray], white: WhiteModels, scale: float) -> list[FloatArray]:
    """Maxima that are not the same as a higher one: farther than a lattice step and two sigmas from it."""
    out: list[FloatArray] = []
    for b in sorted(best, key=lambda t: float(np.sum((white.data - t[0] * white.at(t[1], t[2])[0]) ** 2))):
        if all(_distance(b, o, white, scale) > 1 for o in out):
            out.append(b)
    return out


def _distance(a: FloatArray, b: FloatArray, white: WhiteModels, scale: float) -> float:
    """Distance of two maxima over the least at which they count as two."""
    step = a[1:] - b[1:]
    length = float(np.hypot(*step))
    if length == 0:
        return 0.0
    sigma = np.sqrt(float(step @ curvature(white, b, scale)[1:, 1:] @ step)) / length
    return length / max(white.lattice.spacing, 2.0 * sigma)


def _points_around(white: WhiteModels, best: FloatArray, scale: float, others: list[FloatArray]) -> Points:
    """The posterior around one maximum: nearer to it than to the others."""
    radius = white.lattice.radius
    sigma = np.sqrt(np.maximum(np.diag(curvature(white, best, scale))[1:], 0.0))
    half = np.minimum(np.maximum(REACH * sigma, 1e-4), 2 * radius)
    x, y = (np.linspace(max(b - h, -radius), min(b + h, radius), MESH) for b, h in zip(best[1:], half, strict=True))
    points = mesh_points(white, x, y, scale)
    far = np.zeros(points.x.shape, bool)
    mine = np.hypot(points.x - best[1], points.y - best[2])
    for other in others:
        far |= np.hypot(points.x - other[1], points.y - other[2]) < mine
    return Points(points.x, points.y, np.where(far, -np.inf, points.log_weight), points.flux, points.sigma)


@dataclass(frozen=True)
class Sampling:
    """Walkers and steps of the ensemble sampler, and its seed."""

    walkers: int
    steps: int
    seed: int


def sample_posterior(white: WhiteModels, modes: tuple[Mode, ...], scale: float, sampling: Sampling) -> FloatArray:
    """Samples of the posterior with flat priors in flux (not negative) and position (the lattice's circle).

    The walkers start at the maxima, each with its share of them.

    Returns
    -------
    (n, 3) float64 ndarray
        Flux, x, y; the first quarter of the steps is dropped.
    """
    import emcee

    def log_probability(t: FloatArray) -> FloatArray:
        inside = (np.hypot(t[:, 1], t[:, 2]) <= white.lattice.radius) & (t[:, 0] >= 0)
        out = np.full(len(t), -np.inf)
        model = t[inside, :1] * white.many(t[inside, 1], t[inside, 2])
        out[inside] = -0.5 * np.sum((white.data - model) ** 2, axis=1) / scale**2
        return out

    rng = np.random.default_rng(sampling.seed)
    share = np.array([m.probability for m in modes])
    which = rng.choice(len(modes), size=sampling.walkers, p=share / share.sum())
    first = np.empty((sampling.walkers, 3))
    for k, mode in enumerate(modes[i] for i in which):
        theta = rng.multivariate_normal(mode.mean, 0.3 * mode.covariance)
        theta[0] = max(theta[0], 1e-3 * np.sqrt(mode.covariance[0, 0]))
        theta[1:] *= min(1.0, 0.99 * white.lattice.radius / max(float(np.hypot(theta[1], theta[2])), 1e-9))
        first[k] = theta
    sampler = emcee.EnsembleSampler(sampling.walkers, 3, log_probability, vectorize=True)
    sampler.random_state = np.random.RandomState(sampling.seed).get_state()
    sampler.run_mcmc(first, sampling.steps)
    return np.asarray(sampler.get_chain(discard=sampling.steps // 4, flat=True))
