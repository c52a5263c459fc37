"""Posterior of a companion's flux and position, from whitened data and forward models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lyot.measure.forward import derivatives, node_weights
from lyot.measure.injection import FloatArray

REACH = 1.5
"""Flat prior of the position: this many pixels around the grid's middle."""


@dataclass(frozen=True)
class Sampling:
    """Walkers and steps of the ensemble sampler, and its seed."""

    walkers: int
    steps: int
    seed: int


def sample_posterior(data: FloatArray, stamps: FloatArray, theta: FloatArray, sampling: Sampling) -> FloatArray:
    """Samples of the posterior with flat priors in flux and position.

    Parameters
    ----------
    data : (npix,) float64 ndarray
        Whitened data: unit, independent noise.
    stamps : (25, npix) float64 ndarray
        Forward models of unit flux at the nodes, whitened in the same way.
    theta : (3,) float64 ndarray
        Best fit: flux, and x and y in pixels from the grid's middle.
    sampling : Sampling

    Returns
    -------
    (n, 3) float64 ndarray
        Of theta; the first quarter of the steps is dropped.
    """
    import emcee

    unit, gradient = derivatives(stamps, theta)
    design = np.vstack([unit, theta[0] * gradient]).T
    spread = np.sqrt(np.diag(np.linalg.inv(design.T @ design + 1e-12 * np.eye(3))))
    spread[1:] = np.clip(spread[1:], 1e-6, 0.3)

    def log_probability(t: FloatArray) -> FloatArray:
        model = t[:, :1] * (node_weights(t[:, 1], t[:, 2]) @ stamps)
        value = -0.5 * np.sum((data - model) ** 2, axis=1)
        outside = np.abs(t[:, 1:]).max(axis=1) > REACH
        return np.asarray(np.where(outside, -np.inf, value))

    rng = np.random.default_rng(sampling.seed)
    first = theta + 0.5 * spread * rng.standard_normal((sampling.walkers, 3))
    sampler = emcee.EnsembleSampler(sampling.walkers, 3, log_probability, vectorize=True)
    sampler.random_state = np.random.RandomState(sampling.seed).get_state()
    sampler.run_mcmc(first, sampling.steps)
    return np.asarray(sampler.get_chain(discard=sampling.steps // 4, flat=True))
