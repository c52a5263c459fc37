"""Stage 3, the combination of the rolls: `CombineStep` writes the north-up image and its companions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jwst.stpipe import Step

from lyot.exposures.headers import star_pixel_cards
from lyot.exposures.names import roll_suffix
from lyot.geometry import number_rolls
from lyot.params import param, spec_from
from lyot.steps.extra_fits import add_cards, add_table, read_card
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelsInput
from lyot.steps.sequence_io import Geometry, build_sequence, geometry_of
from lyot.steps.stage3_inputs import exposures_of
from lyot.steps.stage3_products import sky_cube, sky_grid, sky_image, truncation_table
from lyot.steps.stage3_star import star_cards, star_position
from lyot.subtract import ReductionResult

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CombineParams:
    """Products of the combination."""

    save_truncations: bool = param(True, help="write the combined image for each number of modes (klcube)")
    save_rolls: bool = param(True, help="write the north-up image of each roll (rollNN_i2d)")


class CombineStep(LyotMixin, Step):  # type: ignore[misc]
    """Combine the star-subtracted rolls into one image with north up, with a single interpolation (``i2d``)."""

    class_alias = "combine"

    spec = spec_from(CombineParams, extra="suffix = string(default='i2d')")

    def process(self, psfsub: ModelsInput, reduction: ReductionResult | None = None) -> DataModel:
        """Combine the rolls.

        Parameters
        ----------
        psfsub : str, CubeModel or list of CubeModel
            Star-subtracted exposures.
        reduction : ReductionResult, optional
            The reduction that they come from, with all truncations; by default the exposures are turned and combined
            here, at the truncation that they have.

        Returns
        -------
        ImageModel
            Weighted mean, MJy/sr, with ERR, WHT and coordinates. Run by itself with ``save_results``, the step also
            saves the further products that are asked for.
        """
        models = exposures_of(psfsub)
        result = combine_only(models) if reduction is None else reduction
        k = result.index()
        variance = None if result.combined_variance is None else result.combined_variance[k]
        image = sky_image(models[0], sky_grid(result, geometry_of(models[0])), result.combined[k], variance)
        finish(image, models, result)
        if self.parent is None and self.save_results:
            for suffix, product in self.extra_products(models, result):
                self.save_model(product, suffix=suffix)
        return image

    def extra_products(self, models: Sequence[DataModel], result: ReductionResult) -> list[tuple[str, DataModel]]:
        """The further products that are asked for: images at each truncation, and of each roll.

        Parameters
        ----------
        models : sequence of CubeModel
            Star-subtracted exposures.
        result : ReductionResult
            The reduction that they come from.

        Returns
        -------
        list of (str, DataModel)
            Suffix and product: ``klcube``, and ``rollNN`` with ``_i2d`` of each of several rolls.
        """
        where = geometry_of(models[0])
        products: list[tuple[str, DataModel]] = []
        if self.save_truncations:
            products.append(("klcube", truncation_cube(models, result, where)))
        numbers = number_rolls(geometry_of(model).pa_y for model in models)
        if self.save_rolls and max(numbers) > 0:
            k, (images, variance) = result.index(), result.by_roll(numbers)
            for roll, pixels in enumerate(images[k]):
                mine = [model for model, number in zip(models, numbers, strict=True) if number == roll]
                errors = None if variance is None else variance[k, roll]
                image = sky_image(mine[0], sky_grid(result, where), pixels, errors)
                finish(image, mine, result)
                products.append((roll_suffix(roll), image))
        return products


def combine_only(models: Sequence[DataModel]) -> ReductionResult:
    """Combine exposures from which the star was subtracted before.

    CRPIX of such a product marks the star already: the offset from the mask in its table is not added again.

    Parameters
    ----------
    models : sequence of CubeModel
        Star-subtracted exposures (``psfsub``), MJy/sr.

    Returns
    -------
    ReductionResult
        At the one truncation that the exposures have.
    """
    from lyot.subtract import ReductionParams, plan_reduction

    frames = build_sequence(models, [])
    star = [
        (g.star[0] - window[1].start, g.star[1] - window[0].start)
        for g, window in zip(frames.geometries, frames.windows, strict=True)
    ]
    # nothing is subtracted: the reference only lets the plan be made, with the whole field as one zone
    sequence = frames.sequence.replace(
        star=np.array(star), references=np.ones((1, *frames.sequence.shape)), reference_exposure=np.zeros(1, np.intp)
    )
    plan = plan_reduction(
        sequence, ReductionParams(method="classical", subtract_mean=False, use_templates=False, zone_edges=())
    )
    variance = plan.frame_variance()
    result = plan.combine_residuals(plan.frames()[np.newaxis], None if variance is None else variance[np.newaxis])
    modes = int(read_card(models[0], "KLMODES", 1))
    return replace(result, truncations=(modes,), recommended=modes)


def truncation_cube(models: Sequence[DataModel], result: ReductionResult, where: Geometry) -> DataModel:
    """Cube of the combined images, one plane per truncation, with a table of the truncations (``KLMODES``)."""
    cube = sky_cube(models[0], sky_grid(result, where), result.combined, result.combined_variance)
    add_table(cube, "KLMODES", truncation_table(result))
    finish(cube, models, result)
    return cube


def finish(
    model: DataModel,
    models: Sequence[DataModel],
    result: ReductionResult,
) -> None:
    """Write what all north-up products have in common: exposure sums, pointings, step status, modes, the star."""
    exposure = model.meta.exposure
    times = [m.meta.exposure.effective_exposure_time for m in models]
    if all(t is not None for t in times):
        exposure.effective_exposure_time = float(sum(times))
    model.meta.resample.pointings = len(models)
    model.meta.resample.weight_type = "ivm"
    model.meta.cal_step.resample = "COMPLETE"
    add_cards(
        model,
        [
            ("KLMODES", result.recommended, "Number of modes subtracted (main product)"),
            *star_cards(star_position(models, None)),
            *star_pixel_cards(result.center),
        ],
    )
