"""Detection, limits and companions behind each of the four masks, on small sequences made at image level."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lyot import geometry
from lyot.instrument import CORONAGRAPHS, coronagraph
from lyot.measure import CompanionParams, ContrastParams, contrast_curve, detect_sources, fit_companions
from lyot.measure.detection import detect_in_reduction
from lyot.measure.forward import source_image
from lyot.reduction.injector import _brightness, injector_of, off_axis_source, reference_residuals
from lyot.subtract import CoronagraphicSequence, ReductionParams, plan_reduction

PA_Y = np.array([113.0, 122.4])


def sequence_of(filter_name):
    """Two rolls and six references: a halo with changing patterns, and noise."""
    c, rng = coronagraph(filter_name), np.random.default_rng(7)
    halo = 100 * np.exp(-geometry.radius_map(c.shape, c.reference_point) / 12)
    patterns = ndimage.gaussian_filter(rng.normal(size=(3, *c.shape)), (0, 1.9, 1.9))
    frames = halo * (1 + 0.3 * np.einsum("nm,myx->nyx", rng.normal(size=(8, 3)), patterns))
    frames += rng.normal(scale=0.3, size=frames.shape)
    return CoronagraphicSequence(
        science=frames[:2], exposure=np.arange(2), pa_y=PA_Y, star=np.array([c.reference_point] * 2),
        pixel_scale=c.pixel_scale, references=frames[2:], boundary_tilt=c.boundary_tilt,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CORONAGRAPHS))
def test_a_planet_behind_each_mask(name):
    c = coronagraph(name)
    # outside of the Lyot spot; between the boundaries of the four-quadrant masks in both rolls
    separation = 4.3 if c.kind == "LYOT" else 1.6
    angle = float(PA_Y.mean()) + 45.0 + c.boundary_tilt
    flux = 4e-4 if c.kind == "LYOT" else 2e-4
    empty = sequence_of(name)
    psf = off_axis_source(empty, name, c.pixel_area)
    east, north = (float(v) for v in geometry.sky_offset(separation, angle))
    planet = np.stack([flux * psf(e, east, north) for e in (0, 1)])
    plan = plan_reduction(
        empty.replace(science=empty.science + planet), ReductionParams(truncations=(3,), recommended=3)
    )
    injector = injector_of(plan, psf)
    fwhm = c.lambda_over_d / injector.pixel_scale
    found = detect_sources(injector.image, injector.center, fwhm, injector.pixel_scale)
    assert found
    # a detection is on a pixel of 0.11 arcsec
    assert found[0].separation == pytest.approx(separation, abs=0.1)
    (fit,) = fit_companions(injector, fwhm, [(separation, angle)], CompanionParams(posterior=False))
    # the same images made it: what is left is the noise
    assert abs(fit.flux - flux) < 4 * fit.flux_error
    assert fit.separation == pytest.approx(separation, abs=max(4 * fit.separation_error, 0.01))
    params = ContrastParams(separations=4, angles=3, inner_radius=0.9 * separation, outer_radius=1.6 * separation)
    curve = contrast_curve(injector, fwhm, params, known=fit.model)
    assert np.isfinite(curve.flux_limit).all()
    # at the planet's separation the boundaries take a good part of the angles; farther out they do not
    assert curve.flux_limit[-1] < 0.8 * flux
    assert (curve.throughput > 0.05).all() and (curve.throughput <= 1.0).all()


def test_residuals_of_the_references_have_the_pixels_of_the_image():
    """Columns without data at the edge, as those of MIRI's reference pixels: the grid must not grow by them."""
    whole = sequence_of("F1550C")
    y, x = (slice(round(v) - 30, round(v) + 31) for v in reversed(coronagraph("F1550C").reference_point))
    science, references = whole.science[:, y, x].copy(), whole.references[:, y, x].copy()
    science[:, :, :4] = references[:, :, :4] = np.nan
    science[:, :, -4:] = references[:, :, -4:] = science[:, :4] = references[:, :4] = np.nan
    science[:, -4:] = references[:, -4:] = np.nan
    star = np.array(whole.star) - (x.start, y.start)
    plan = plan_reduction(whole.replace(science=science, references=references, star=star),
                          ReductionParams(truncations=(3,), recommended=3))  # fmt: skip
    found = reference_residuals(plan, 3)
    assert found is not None and found.shape == (6, *plan.exposure_weights.shape[1:])
    np.testing.assert_array_equal(np.isfinite(found[0]), np.isfinite(plan.reduce().combined[0]))
    again = plan_reduction(plan.sequence.replace(science=science.copy()), plan.params)
    assert reference_residuals(again, 3) is found  # not computed again for another plan of the same
    other = plan_reduction(plan.sequence.replace(references=1.01 * references), plan.params)
    assert not np.array_equal(reference_residuals(other, 3), found)


@pytest.mark.parametrize("times", [0.25, 3.0])
def test_a_reference_star_is_so_many_times_as_bright(times):
    sequence = sequence_of("F1550C")
    # the halos differ by their patterns
    assert _brightness(times * sequence.references + 5.0, sequence.science) == pytest.approx(times, rel=0.15)


def test_forward_models_of_the_rolls_make_that_of_the_image():
    sequence = sequence_of("F1550C")
    plan = plan_reduction(sequence, ReductionParams(truncations=(3,), recommended=3))
    injector = injector_of(plan, off_axis_source(sequence, "F1550C", coronagraph("F1550C").pixel_area))
    weights = plan.reduce().weights
    rolls, whole = injector.forward_rolls(1.0, 1.2), injector.forward(1.0, 1.2)
    both = np.isfinite(rolls).all(axis=0)
    mean = np.sum(weights * np.nan_to_num(rolls), axis=0)
    # differences of two reductions of frames of up to 100 MJy/sr, where the image of 1 Jy is brighter
    np.testing.assert_allclose(mean[both], whole[both], atol=1e-9 * np.nanmax(whole))


@pytest.mark.parametrize(("strategy", "modes"), [("adi+rdi", 3), ("adi", 1)])
def test_a_planet_is_a_source_where_the_other_roll_is_in_the_library(strategy, modes):
    """The forward model is made at the planet's own flux: at 1 Jy it takes itself out, as no planet does."""
    c, empty = coronagraph("F1550C"), sequence_of("F1550C")
    psf = off_axis_source(empty, "F1550C", c.pixel_area)
    separation, angle, flux = 2.2, float(PA_Y.mean()) + 45.0 + c.boundary_tilt, 2e-4
    east, north = (float(v) for v in geometry.sky_offset(separation, angle))
    planet = np.stack([flux * psf(e, east, north) for e in (0, 1)])
    params = ReductionParams(strategy=strategy, truncations=(modes,), recommended=modes)
    injector = injector_of(plan_reduction(empty.replace(science=empty.science + planet), params), psf)
    fwhm = c.lambda_over_d / injector.pixel_scale
    at = injector.pixel(east, north)
    without = injector_of(plan_reduction(empty, params), psf)
    true = (injector.image - without.image) / flux  # the other star's frames are the same
    near = np.isfinite(true) & (np.hypot(*geometry.offset_grid(true.shape, at)) < fwhm)
    model, bright = source_image(injector, fwhm, at), injector.forward(east, north)
    error, blind = (np.std((m - true)[near]) / np.std(true[near]) for m in (model, bright))
    assert error < 0.15  # at 1 to 2 times the flux, as the planet itself is in the image: to first order the same
    assert error < 0.5 * blind
    found = detect_in_reduction(injector, fwhm)
    assert found[0].status == "source" and found[0].rolls == 2
    assert found[0].separation == pytest.approx(separation, abs=0.1)
