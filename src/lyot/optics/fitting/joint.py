"""Fit the optics of a four-quadrant-mask coronagraph to a star's dithered images, and to the image of a companion.

Stop, wavefront, pointing and the errors of mask and detector are fitted at once, by L-BFGS with the exact gradient.
Flux and backgrounds enter linearly and are solved for at every step (variable projection). The dithers are held to the
commanded ones: a free pattern trades against the star's flux. The image of a companion far from the mask depends on
the stop and hardly on the mask, and keeps the map from explaining what is not the stop's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from lyot.errors import InputError
from lyot.instrument import Coronagraph
from lyot.optics import field as _field
from lyot.optics.fitted import FittedOptics
from lyot.optics.fitting.forward import Gradient, Pixels, Star, StarImages
from lyot.optics.fitting.stop_models import FixedStop, FreeStop, GeometricStop, StopModel
from lyot.optics.params import OpticsParams
from lyot.optics.small_errors import wavefront_modes
from lyot.optics.stops import FITTED_SHAPE, StopShape
from lyot.optics.throughput import throughput_table
from lyot.params import param

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_INDEPENDENT = 100.0  # data per exposure that a model error is taken to leave independent
_BANDS = ((0.0, 1.6), (0.0, 3.0), (1.6, 3.0))  # arcsec


_STOPS: dict[str, Callable[[int, int, StopShape], StopModel]] = {
    "free": FreeStop,
    "geometric": GeometricStop,
    "eroded": FixedStop,
}


@dataclass(frozen=True)
class OpticsFitParams:
    """Parameters of the optics fit; see `fit_optics`.

    Examples
    --------
    >>> from lyot.optics.fitting import OpticsFitParams
    >>> from lyot.params import describe
    >>> [info.name for info in describe(OpticsFitParams)][:3]
    ['stop', 'radius', 'pupil_pixels']
    """

    stop: str = param(
        "free",
        help="model of the Lyot stop: free (map fitted to the images), geometric, or eroded",
        choices=("free", "geometric", "eroded"),
    )
    radius: float = param(3.0, help="radius within which the star is fitted", unit="arcsec", min=0.5, max=8.0)
    pupil_pixels: int = param(96, help="number of samples across the pupil array", min=48, max=256)
    n_wavelengths: int = param(2, help="number of wavelengths across the band", min=1, max=9)
    stop_cells: int = param(48, help="number of cells of the free map per axis", min=8, max=128)
    iterations: int = param(400, help="maximum number of iterations", min=1, max=10000)
    wavefront_rms: float = param(120.0, help="expected rms wavefront error", unit="nm", min=1.0, max=1000.0)
    highest_noll: int = param(21, help="highest Zernike term of the wavefront (Noll index)", min=4, max=66)
    dither_error: float = param(
        1.0, help="expected rms error of the commanded dithers per axis", unit="mas", min=0.01, max=100.0
    )
    model_error: float = param(
        0.05, help="expected error of the model, relative to the rms of the image", min=0.001, max=1.0
    )
    companion_weight: float = param(3.0, help="weight of the chi2 of the companion image", min=0.0, max=1000.0)


@dataclass(frozen=True)
class StarFrames:
    """Dithered images of a star behind the mask.

    Attributes
    ----------
    frames : (n, ny, nx) float64 ndarray
        Background subtracted, MJy/sr; NaN: not used.
    dx, dy : (ny, nx) float64 ndarray
        Pixel centers from the nominal center of the mask along the detector's axes, arcsec.
    dither : (n, 2) float64 ndarray
        Commanded offsets of the star along the detector's axes, mas; their mean is free.
    flux : (value, error) or None
        Flux density of the star, Jy, that the fit shall keep to.
    """

    frames: FloatArray
    dx: FloatArray
    dy: FloatArray
    dither: FloatArray
    flux: tuple[float, float] | None = None


@dataclass(frozen=True)
class CompanionFrame:
    """Image of a companion far from the mask's center, free of the star.

    Attributes
    ----------
    image : (ny, nx) float64 ndarray
        MJy/sr; NaN: not used.
    dx, dy : (ny, nx) float64 ndarray
        Pixel centers from the nominal center of the mask, arcsec.
    position : (dx, dy)
        Of the companion, within about 0.1 arcsec.
    noise : float
        Standard deviation per pixel, MJy/sr.
    """

    image: FloatArray
    dx: FloatArray
    dy: FloatArray
    position: tuple[float, float]
    noise: float


@dataclass(frozen=True)
class Misfit:
    """Rms of the residual over that of the image without its background.

    Attributes
    ----------
    inner, all, outer : float
        Within 1.6, within 3, and from 1.6 to 3 arcsec; NaN where the fit has no pixels.
    """

    inner: float
    all: float
    outer: float


@dataclass(frozen=True)
class OpticsFit:
    """Result of `fit_optics`.

    Attributes
    ----------
    optics : FittedOptics
    shape : StopShape or None
        Lengths of the stop, where they were fitted.
    fitted, left_out : Misfit
        Of the exposures in the fit, and of those that were left out (NaN if none), with the commanded dithers.
    pointing : (2,) float64 ndarray
        Mean offset of the star along the detector's axes, mas.
    flux : float
        Of the star, Jy.
    companion_chi2 : float
        Chi squared of the companion's image; NaN without one.
    companion_pixels : int
        Number of its pixels.
    open_fraction : float
        Fraction of the clear pupil that the stop leaves open.
    rejection : float
        Ratio of the star's peak without mask to that behind the centered mask.
    wavefront_rms : float
        nm, over the pupil.
    models, residuals : (n, ny, nx) float64 ndarray
        Of all exposures in their order, MJy/sr; NaN where not used.
    background : (n,) float64 ndarray
        MJy/sr.
    evaluations : int
        Images and gradients that were made.
    seconds : float
        Time taken, s.
    """

    optics: FittedOptics
    shape: StopShape | None
    fitted: Misfit
    left_out: Misfit
    pointing: FloatArray
    flux: float
    companion_chi2: float
    companion_pixels: int
    open_fraction: float
    rejection: float
    wavefront_rms: float
    models: FloatArray
    residuals: FloatArray
    background: FloatArray
    evaluations: int
    seconds: float


@dataclass(frozen=True)
class _Linear:
    """Linear part of the model: flux, shadow of the mask, backgrounds; and what they leave."""

    flux: float
    background: FloatArray
    model: FloatArray
    residual: FloatArray


@dataclass(frozen=True)
class _SeenCompanion:
    """Image of the companion on its good pixels, its expected place along the mask's axes (arcsec), and the noise."""

    pixels: Pixels
    data: FloatArray
    at: FloatArray
    noise: float


class _Block:
    """A part of the parameter vector."""

    def __init__(self, start: FloatArray, scale: FloatArray | float, prior: FloatArray | float) -> None:
        self.start = np.asarray(start, dtype=np.float64).ravel()
        self.scale = np.broadcast_to(np.asarray(scale, dtype=np.float64), self.start.shape)
        self.prior = np.broadcast_to(np.asarray(prior, dtype=np.float64), self.start.shape)


class _Problem:
    """Loss and gradient of a fit."""

    def __init__(
        self, coronagraph: Coronagraph, star: StarFrames, companion: CompanionFrame | None, used: list[int],
        params: OpticsFitParams, shape: StopShape,
    ) -> None:  # fmt: skip
        p, c = params, coronagraph
        self.coronagraph, self.params, self.used = c, p, used
        self.images = StarImages(c, p.pupil_pixels, p.n_wavelengths)
        self.modes = np.array([
            w.opd for w in wavefront_modes(npix=p.pupil_pixels, highest_noll=p.highest_noll, rms_nm=p.wavefront_rms)
        ])  # fmt: skip
        self.stop: StopModel = _STOPS[p.stop](p.pupil_pixels, p.stop_cells, shape)
        self.near = np.hypot(star.dx, star.dy) < p.radius
        dx, dy = star.dx[self.near], star.dy[self.near]
        self.radius = np.hypot(dx, dy)
        self.pixels = self.images.pixels(dx, dy)
        data = star.frames[:, self.near]
        self.good = np.isfinite(data)
        self.data = np.where(self.good, data, 0.0)
        self.commanded = np.stack(_field.to_mask_frame(star.dither[:, 0], star.dither[:, 1], c.boundary_tilt), axis=1)
        self.shadow = throughput_table(c, OpticsParams()).at(dx, dy) - 1.0
        good = self.good[used]
        power = float((self.data[used][good] ** 2).mean())
        self.weight = len(used) * _INDEPENDENT / (good.sum() * power * p.model_error**2)
        unit = 1e-6 / c.pixel_area
        self.unit = unit
        self.flux_prior = None if star.flux is None else (star.flux[0] * unit, star.flux[1] * unit)
        self.companion: _SeenCompanion | None = None
        if companion is not None:
            good = np.isfinite(companion.image)
            at = np.array([float(q) for q in _field.to_mask_frame(*companion.position, c.boundary_tilt)])
            seen = self.images.pixels(companion.dx[good], companion.dy[good])
            self.companion = _SeenCompanion(seen, companion.image[good], at, companion.noise)
        self.blocks = {
            "stop": _Block(self.stop.start(), self.stop.scale, self.stop.prior),
            "modes": _Block(np.zeros(len(self.modes)), 0.3, 1.0),
            "pointing": _Block(np.zeros(2), 5.0, 30.0),  # mas
            "dither": _Block(np.zeros(2 * len(used)), 1.0, p.dither_error),  # mas
            "center": _Block(np.zeros(2), 0.02, 0.05),  # arcsec: half a pixel
            "phase_error": _Block(np.zeros(1), 0.01, 0.03),
            "leak": _Block(np.zeros(2), 0.01, 0.03),
            "diffusion": _Block(np.full(1, 1e3 * 0.045**2), 0.3, 1.0),  # 1e-3 arcsec^2
            "companion": _Block(np.zeros(2), 0.01, 0.1),  # arcsec
        }
        self.evaluations = 0
        self.chi2_of_companion = np.nan

    def start(self) -> FloatArray:
        """The vector to start from, in steps."""
        return np.concatenate([b.start / b.scale for b in self.blocks.values()])

    def split(self, vector: FloatArray) -> dict[str, FloatArray]:
        """Parameters by name."""
        out, at = {}, 0
        for name, block in self.blocks.items():
            n = len(block.start)
            out[name] = vector[at : at + n] * block.scale
            at += n
        return out

    def free(self, names: Sequence[str]) -> BoolArray:
        """Where the parameters of these names are in the vector."""
        return np.concatenate([np.full(len(b.start), name in names) for name, b in self.blocks.items()])

    def star(self, q: dict[str, FloatArray], offset: FloatArray) -> Star:
        """The star at offsets (n, 2), mas."""
        return Star(
            self.stop.draw(q["stop"]),
            np.tensordot(q["modes"], self.modes, axes=1),
            offset * 1e-3,
            q["center"],
            float(q["phase_error"][0]),
            complex(*q["leak"]),
            max(float(q["diffusion"][0]), 1e-3) * 1e-3,
        )

    def linear(self, light: FloatArray, rows: list[int], *, prior: bool = True) -> _Linear:
        """Solve for flux, backgrounds and the mask's shadow in the background."""
        data, good = self.data[rows], self.good[rows]
        n = len(rows)
        columns = [light[good], np.broadcast_to(self.shadow, good.shape)[good]]
        which = np.broadcast_to(np.arange(n)[:, None], good.shape)[good]
        columns += [(which == i).astype(np.float64) for i in range(n)]
        matrix, values = np.array(columns).T, data[good]
        if prior and self.flux_prior is not None:
            one = 1.0 / (self.flux_prior[1] * np.sqrt(self.weight))
            matrix = np.vstack([matrix, one * np.eye(1, len(columns))])
            values = np.append(values, one * self.flux_prior[0])
        solution = np.linalg.lstsq(matrix, values, rcond=None)[0]
        model, residual = np.full(good.shape, np.nan), np.zeros(good.shape)
        model[good] = (matrix @ solution)[: good.sum()]
        residual[good] = data[good] - model[good]
        return _Linear(float(solution[0]), np.asarray(solution[2:]), model, residual)

    def loss(self, vector: FloatArray) -> tuple[float, FloatArray]:
        """Half of chi2 and priors, and its gradient in steps."""
        self.evaluations += 1
        q = self.split(vector)
        star = self.star(q, self.commanded[self.used] + q["pointing"] + q["dither"].reshape(-1, 2))
        light, pull = self.images(star, self.pixels)
        solved = self.linear(light, self.used)
        chi2 = self.weight * float((solved.residual**2).sum())
        if self.flux_prior is not None:
            chi2 += ((solved.flux - self.flux_prior[0]) / self.flux_prior[1]) ** 2
        g = pull(-self.weight * solved.flux * solved.residual)
        by_position = np.zeros(2)
        if self.companion is not None:
            more, gradient = self._companion(self.companion, star, q)
            chi2 += more
            g, by_position = g.with_shared(gradient), gradient.offset[0]
        by = {
            "stop": self.stop.pull(q["stop"], star.stop, g.stop),
            "modes": np.tensordot(self.modes, g.opd, axes=2),
            "pointing": g.offset.sum(axis=0) * 1e-3,
            "dither": g.offset.ravel() * 1e-3,
            "center": g.center,
            "phase_error": np.array([g.phase_error]),
            "leak": g.leak,
            "diffusion": np.array([g.diffusion * 1e-3 if q["diffusion"][0] > 1e-3 else 0.0]),
            "companion": by_position,
        }
        total, slope = 0.5 * chi2, np.concatenate([by[n] * b.scale for n, b in self.blocks.items()])
        off = np.concatenate([(q[n] - b.start) / b.prior for n, b in self.blocks.items()])
        per_step = np.concatenate([b.scale / b.prior for b in self.blocks.values()])
        return total + 0.5 * float(off @ off), slope + off * per_step

    def _companion(self, seen: _SeenCompanion, star: Star, q: dict[str, FloatArray]) -> tuple[float, Gradient]:
        """Weighted chi2 of the companion's image, its flux and background solved for, and the gradient."""
        alone = replace(star, offset=(seen.at + q["companion"])[None])
        light, pull = self.images(alone, seen.pixels)
        matrix = np.stack([light[0], np.ones_like(seen.data)], axis=1)
        solution = np.linalg.lstsq(matrix, seen.data, rcond=None)[0]
        residual = seen.data - matrix @ solution
        self.chi2_of_companion = float((residual**2).sum()) / seen.noise**2
        weight = self.params.companion_weight
        return weight * self.chi2_of_companion, pull((-weight / seen.noise**2 * solution[0] * residual)[None])


def fit_optics(
    coronagraph: Coronagraph,
    star: StarFrames,
    *,
    companion: CompanionFrame | None = None,
    leave_out: Sequence[int] = (),
    shape: StopShape = FITTED_SHAPE,
    params: OpticsFitParams | None = None,
    origin: str = "",
    progress: Callable[[int], None] | None = None,
) -> OpticsFit:
    """Fit stop, wavefront, pointing and errors of mask and detector to images of a star.

    Parameters
    ----------
    coronagraph : Coronagraph
        With a four-quadrant mask.
    star : StarFrames
    companion : CompanionFrame, optional
        Strongly advised with a free stop.
    leave_out : sequence of int, optional
        Exposures that are predicted, not fitted.
    shape : StopShape, optional
        Drawing of the stop that the search starts from.
    params : OpticsFitParams, optional
    origin : str, optional
        What the images are, kept with the result.
    progress : callable, optional
        Called with the number of each iteration.

    Returns
    -------
    OpticsFit

    Raises
    ------
    InputError
        If the coronagraph has no four-quadrant mask, or too few exposures are left.

    Notes
    -----
    A fit of this kind has several minima that do as well (the map's finest structure and the sign of the phase error
    change); what they share is what the data say.
    """
    p, began = params or OpticsFitParams(), time.perf_counter()
    if coronagraph.kind != "4QPM":
        raise InputError(
            f"{coronagraph.filter}: the optics can be fitted for four-quadrant masks only, because the Lyot spot "
            "hides the star."
        )
    n = len(star.frames)
    used = [i for i in range(n) if i not in set(leave_out)]
    if len(used) < 2:
        raise InputError(f"the fit of the optics requires at least two dithers of the star; got {len(used)}.")
    problem = _Problem(coronagraph, star, companion, used, p, shape)
    vector = problem.start()
    for names, share in ((("pointing", "center"), 0.1), (tuple(problem.blocks), 1.0)):
        vector = _search(problem, vector, names, max(int(share * p.iterations), 5), progress)
    return _result(problem, vector, star, list(leave_out), origin, time.perf_counter() - began)


def _search(
    problem: _Problem, vector: FloatArray, names: Sequence[str], iterations: int, progress: Callable[[int], None] | None
) -> FloatArray:
    """Minimize over the parameters of these names."""
    free, whole, done = problem.free(names), vector.copy(), [0]

    def loss(part: FloatArray) -> tuple[float, FloatArray]:
        whole[free] = part
        value, slope = problem.loss(whole)
        return value, slope[free]

    def step(_part: FloatArray) -> None:
        done[0] += 1
        if progress is not None:
            progress(done[0])

    options = {"maxiter": iterations, "maxcor": 30, "ftol": 1e-7, "gtol": 1e-6}
    found = optimize.minimize(loss, whole[free], jac=True, method="L-BFGS-B", callback=step, options=options)
    whole[free] = found.x
    return whole


def _result(
    problem: _Problem, vector: FloatArray, star: StarFrames, left: list[int], origin: str, seconds: float
) -> OpticsFit:
    problem.loss(vector)
    q, c, p = problem.split(vector), problem.coronagraph, problem.params
    rows = list(range(len(star.frames)))
    model = problem.star(q, problem.commanded + q["pointing"])
    light, _ = problem.images(model, problem.pixels)
    solved = problem.linear(light, rows, prior=False)
    centered = replace(model, offset=np.zeros((1, 2)))
    behind = problem.images(centered, problem.pixels)[0].max()
    without = problem.images(centered, problem.pixels, mask=False)[0].max()
    amplitude = problem.images.pupil.amplitude
    # back from the mask's axes to those of the detector
    center = _field.to_mask_frame(float(q["center"][0]), float(q["center"][1]), -c.boundary_tilt)
    pointing = _field.to_mask_frame(float(q["pointing"][0]), float(q["pointing"][1]), -c.boundary_tilt)
    inside = amplitude > 0.5
    optics = FittedOptics(
        problem.stop.latent(q["stop"]).copy(),
        model.opd,
        model.phase_error,
        model.leak,
        float(np.sqrt(model.variance)),
        (float(center[0]), float(center[1])),
        c.filter,
        origin,
    )
    shape = StopShape(*(float(v) for v in q["stop"])) if p.stop == "geometric" else None
    nowhere = np.full(star.frames.shape, np.nan)
    models, residuals = nowhere.copy(), nowhere.copy()
    models[:, problem.near] = solved.model
    residuals[:, problem.near] = np.where(problem.good, solved.residual, np.nan)
    return OpticsFit(
        optics=optics,
        shape=shape,
        fitted=_misfit(problem, light, problem.used),
        left_out=_misfit(problem, light, left),
        pointing=np.array(pointing),
        flux=solved.flux / problem.unit,
        companion_chi2=problem.chi2_of_companion,
        companion_pixels=0 if problem.companion is None else len(problem.companion.data),
        open_fraction=float((amplitude * model.stop).sum() / amplitude.sum()),
        rejection=float(without / behind),
        wavefront_rms=float(1e9 * model.opd[inside].std()),
        models=models,
        residuals=residuals,
        background=solved.background,
        evaluations=problem.evaluations,
        seconds=seconds,
    )


def _misfit(problem: _Problem, light: FloatArray, rows: list[int]) -> Misfit:
    """Misfit of some exposures, their flux and backgrounds solved for."""
    if not rows:
        return Misfit(np.nan, np.nan, np.nan)
    solved = problem.linear(light[rows], rows, prior=False)
    good, data = problem.good[rows], problem.data[rows] - solved.background[:, None]
    values = []
    for low, high in _BANDS:
        where = good & ((problem.radius >= low) & (problem.radius < high))
        power = float((data[where] ** 2).sum())
        values.append(float(np.sqrt((solved.residual[where] ** 2).sum() / power)) if power > 0 else np.nan)
    return Misfit(*values)
