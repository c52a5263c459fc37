"""Stage 3, the combination of the rolls: `CombineStep` writes the north-up image and its companions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jwst.stpipe import Step
from stdatamodels.jwst.datamodels import JwstDataModel

from lyot.params import param, spec_from
from lyot.steps.extra_fits import add_cards, add_table
from lyot.steps.mixin import LyotMixin
from lyot.steps.sequence_io import Geometry, build_sequence, geometry_of, open_exposure
from lyot.steps.stage3_products import sky_cube, sky_grid, sky_image, truncation_table
from lyot.steps.stage3_star import StarPosition, at_reference_point
from lyot.subtract import ReductionResult

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CombineParams:
    """Products of the combination."""

    save_truncations: bool = param(True, help="write the combined image of every truncation (klcube)")
    save_rolls: bool = param(True, help="write the north-up image of each roll (rollNN_i2d)")


class CombineStep(LyotMixin, Step):  # type: ignore[misc]
    """Combine the star-subtracted rolls to one image, north up, with one interpolation (``i2d``)."""

    class_alias = "combine"

    spec = spec_from(CombineParams, extra="suffix = string(default='i2d')")

    reduction: ReductionResult | None = None
    """The reduction that the exposures come from (set by the pipeline); None: they are turned and combined here."""

    star: StarPosition | None = None
    """Where the star is, for the headers (set by the pipeline); None: at the mask's reference point."""

    def process(self, psfsub: Any) -> JwstDataModel:
        """Combine the rolls.

        Parameters
        ----------
        psfsub : CubeModel or list of CubeModel
            Star-subtracted exposures.

        Returns
        -------
        ImageModel
            Weighted mean, MJy/sr, with ERR, WHT and coordinates.
        """
        several = isinstance(psfsub, Sequence) and not isinstance(psfsub, str)
        models = [open_exposure(m) for m in (psfsub if several else [psfsub])]
        where = geometry_of(models[0])
        result = combine_only(models) if self.reduction is None else self.reduction
        k = result.index()
        variance = None if result.combined_variance is None else result.combined_variance[k]
        image = sky_image(models[0], sky_grid(result, where), result.combined[k], variance)
        finish(image, models, result, star=self.star)
        return image

    def extra_products(
        self, models: Sequence[JwstDataModel], result: ReductionResult
    ) -> list[tuple[str, JwstDataModel]]:
        """The further products that were asked for, as (suffix, model)."""
        where = geometry_of(models[0])
        products: list[tuple[str, JwstDataModel]] = []
        if self.save_truncations:
            products.append(("klcube", truncation_cube(models, result, where, star=self.star)))
        if self.save_rolls and len(models) > 1:
            k = result.index()
            for e, model in enumerate(models):
                variance = None if result.roll_variance is None else result.roll_variance[k, e]
                image = sky_image(model, sky_grid(result, where), result.rolls[k, e], variance)
                finish(image, [model], result, star=None if self.star is None else self.star.of(e))
                products.append((f"roll{e + 1:02d}_i2d", image))
        return products


def combine_only(models: Sequence[JwstDataModel]) -> ReductionResult:
    """Combine exposures from which the star was subtracted before."""
    from lyot.subtract import ReductionParams, plan_reduction

    frames = build_sequence(models, [])
    sequence = frames.sequence
    zero = np.zeros((1, *sequence.shape))
    plan = plan_reduction(
        sequence.replace(references=zero, reference_exposure=np.zeros(1, np.intp)),
        ReductionParams(method="classical", subtract_mean=False, use_templates=False, zone_edges=()),
    )
    return plan.reduce()


def truncation_cube(
    models: Sequence[JwstDataModel], result: ReductionResult, where: Geometry, *, star: StarPosition | None = None
) -> JwstDataModel:
    """Cube of the combined images, one plane per truncation, with a table of the truncations (``KLMODES``)."""
    cube = sky_cube(models[0], sky_grid(result, where), result.combined, result.combined_variance)
    add_table(cube, "KLMODES", truncation_table(result))
    finish(cube, models, result, star=star)
    return cube


def finish(
    model: JwstDataModel,
    models: Sequence[JwstDataModel],
    result: ReductionResult,
    *,
    star: StarPosition | None = None,
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
            *(at_reference_point(len(models)) if star is None else star).cards(),
            ("STARX", result.center[0] + 1, "[pixel] position of the star, 1-based"),
            ("STARY", result.center[1] + 1, "[pixel] position of the star, 1-based"),
        ],
    )
