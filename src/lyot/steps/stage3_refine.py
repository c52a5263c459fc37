"""Stage 3, the second pass: `RefineStep` reduces again with the sources that were found masked in the fit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jwst.stpipe import Step

from lyot.errors import ReductionError
from lyot.params import from_step, spec_from
from lyot.reduction.second_pass import Refined, RefineParams, can_refine, refine
from lyot.reduction.star import StarPosition
from lyot.steps.coronagraphs import coronagraph_of
from lyot.steps.extra_fits import add_cards, add_table
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelInput, ModelsInput
from lyot.steps.sequence_io import geometry_of, open_exposure
from lyot.steps.stage3_combine import finish
from lyot.steps.stage3_inputs import exposures_of
from lyot.steps.stage3_plan import choice_params, parameters_of, plan_exposures, reduction_params
from lyot.steps.stage3_products import sky_grid, sky_image
from lyot.steps.stage3_star import star_cards, star_position

log = logging.getLogger(__name__)

PROTECTED_TABLE = "PROTECTED"
"""Extension that lists the sources left out of the fit."""


class RefineStep(LyotMixin, Step):  # type: ignore[misc]
    """Repeat the reduction with detected sources masked in the fit and wavefront drifts modeled (``refined``).

    Examples
    --------
    >>> from lyot.steps import RefineStep
    >>> RefineStep(protect="0.82,149.4").protect
    '0.82,149.4'
    """

    class_alias = "refine"

    spec = spec_from(RefineParams, extra="suffix = string(default='refined')")

    def process(
        self, targets: ModelsInput, references: ModelInput, psfsub: ModelsInput | None = None
    ) -> DataModel | None:
        """Make the refined image.

        Parameters
        ----------
        targets : str, CubeModel, or list of CubeModel
            Science exposures, calibrated: a file, several, or a level-3 association (of which the science is taken).
        references : str or CubeModel
            Registered reference stack (``psfalign``).
        psfsub : str, CubeModel or list of CubeModel, optional
            Star-subtracted exposures of the first pass, whose parameters are used again; the defaults without them.

        Returns
        -------
        ImageModel or None
            None, with the reason in the log, if there is no source to mask, or no model of the coronagraph.
        """
        models = exposures_of(targets)
        stack = None if references is None else open_exposure(references)
        first = None if psfsub is None else exposures_of(psfsub)
        parameters = {} if first is None else parameters_of(first[0])
        params, known = reduction_params(parameters), coronagraph_of(models[0])
        if known is None or stack is None or not can_refine(params):
            log.info("no second pass: it requires references (rdi) with klip or loci and a MIRI mask")
            return None
        wanted = from_step(RefineParams, self)
        area = float(models[0].meta.photometry.pixelarea_steradians or known.pixel_area)
        only = params.recommended or max(params.truncations)
        try:
            planned = plan_exposures(
                models,
                stack,
                replace(params, truncations=(only,), recommended=only),
                choice_params(parameters),
                use_throughput=bool(parameters.get("use_throughput", True)),
            )
            refined = refine(planned.plan, known, wanted, pixel_area=area)
        except ReductionError as error:  # the first pass stands without it
            log.warning("no second pass: %s", error)
            return None
        if refined is None:
            log.info("no second pass: no source to mask in the fit")
            return None
        return refined_image(models, refined, wanted, star=star_position(models, stack))


def refined_image(
    models: Sequence[DataModel], refined: Refined, params: RefineParams, *, star: StarPosition
) -> DataModel:
    """The refined product: north-up image with the table of the sources that were left out."""
    result, k = refined.result, refined.result.index()
    variance = None if result.combined_variance is None else result.combined_variance[k]
    image = sky_image(models[0], sky_grid(result, geometry_of(models[0])), result.combined[k], variance)
    finish(image, models, result)
    add_cards(image, star_cards(star))
    rows = [(s.separation, s.position_angle, s.signal, s.noise, s.signal / s.noise, s.places) for s in refined.sources]
    columns = [("SEPARATION", "f8"), ("PA", "f8"), ("SIGNAL", "f8"), ("NOISE", "f8"), ("SNR", "f8"), ("PLACES", "i4")]
    add_table(image, PROTECTED_TABLE, np.array(rows, dtype=columns))
    add_cards(
        image,
        [
            ("NPROTECT", len(rows), "Sources masked in the fit of the star"),
            ("PROTRAD", params.protect_radius, "[lambda/D] radius masked around each source"),
            ("WFDRIFT", params.wavefront_drift, "[nm] expected rms wavefront drift, fitted"),
        ],
    )
    return image
