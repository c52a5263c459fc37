"""Stage 3, the subtraction of the star: `KlipStep`."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from jwst.coron.klip_step import KlipStep as OfficialKlipStep
from numpy.typing import NDArray

from lyot.errors import ConfigError
from lyot.exposures.headers import PARAMETERS_TABLE
from lyot.params import describe, from_mapping, from_step, spec_from
from lyot.reduction.choice import ChoiceParams
from lyot.reduction.star import StarPosition
from lyot.steps.extra_fits import add_cards, add_table
from lyot.steps.mixin import LyotMixin
from lyot.steps.models import DataModel, ModelInput, ModelsInput
from lyot.steps.segments import open_exposures
from lyot.steps.sequence_io import STAR_TABLE, SequenceInput, as_list, model_name, open_exposure, several
from lyot.steps.stage3_plan import PlannedReduction, parameters_table, parse_truncate, plan_exposures
from lyot.steps.stage3_products import detector_cube, ranking_table, science_flags
from lyot.steps.stage3_star import star_cards, star_position, star_table
from lyot.subtract import ReductionParams, ReductionResult
from lyot.subtract.combine import fill_bad
from lyot.subtract.compatibility import official_klip
from lyot.subtract.integrations import integrations_of

log = logging.getLogger(__name__)


class KlipStep(LyotMixin, OfficialKlipStep):  # type: ignore[misc]
    """Subtract the star from one science exposure, or from all rolls of a sequence together (``psfsub``).

    ``result`` is the reduction after a run: all truncations, the rolls and the combined image, which the products at
    one truncation do not hold. The pipeline gives it to the combination, so that the star is subtracted once.

    Examples
    --------
    >>> from lyot.steps import KlipStep
    >>> KlipStep(truncate=5).truncate
    [5]
    """

    class_alias = "klip"

    spec = spec_from(ReductionParams) + spec_from(
        ChoiceParams,
        extra="""
        truncate = force_list(default=None)  # official step: one number of modes, or several; overrides truncations
        use_throughput = boolean(default=True)  # off-axis throughput: field stop, roll weights, uniform background
        mode = option('lyot', 'official', default='lyot')  # algorithm of Lyot, or the official one
        """,
    )

    truncate: Any
    result: ReductionResult | None = None

    def process(self, target: ModelsInput, psfrefs: ModelInput | None) -> DataModel | list[DataModel]:
        """Subtract the star.

        Parameters
        ----------
        target : str, CubeModel, or list of CubeModel
            Science exposures (rolls); segments of one exposure are joined.
        psfrefs : str or CubeModel
            Registered reference stack.

        Returns
        -------
        CubeModel or list of CubeModel
            Star-subtracted integrations of each exposure, at the recommended truncation.
        """
        if self.mode == "official":
            return self._official(target, psfrefs)
        targets = open_exposures(as_list(target))
        references = None if psfrefs is None else open_exposure(psfrefs)
        planned = plan_exposures(
            targets,
            references,
            self.parameters(),
            from_step(ChoiceParams, self),
            use_throughput=self.use_throughput,
        )
        log.info("%s", _about_template(planned.inputs, planned.plan.params))
        self.result = result = planned.plan.reduce()
        log.info("star subtracted with %s modes; main product: %d",
                 ", ".join(map(str, result.truncations)), result.recommended)  # fmt: skip
        star = star_position(targets, references)
        products = [_product(planned, result, model, e, star.of(e)) for e, model in enumerate(targets)]
        return products if several(target) is not None else products[0]

    def parameters(self) -> ReductionParams:
        """Parameters of the reduction, with ``truncate`` taken into account.

        Returns
        -------
        ReductionParams

        Raises
        ------
        ConfigError
            If a value is out of range.
        """
        values = {info.name: getattr(self, info.name) for info in describe(ReductionParams)}
        wanted = parse_truncate(self.truncate)
        if wanted:
            values["truncations"] = wanted
            if len(wanted) == 1:
                values["recommended"] = wanted[0]
        return from_mapping(ReductionParams, values, where="klip: ")

    def _official(self, target: ModelsInput, psfrefs: ModelInput | None) -> DataModel:
        """The official subtraction, its basis made once.

        ERR stays that of the exposure, where the official step overwrites it with the scatter of the references'
        residuals.
        """
        wanted = parse_truncate(self.truncate) or (50,)
        if len(wanted) > 1:
            raise ConfigError(f"klip.truncate: the official algorithm requires a single number of modes, got {wanted}.")
        if psfrefs is None:
            raise ConfigError("klip.mode = official requires references; use mode = lyot, or add a reference star.")
        model, references = self.prepare_output(target), open_exposure(psfrefs)
        frames, good = filled_frames(model)
        library, _ = filled_frames(references)
        residuals, _ = official_klip(frames, library, truncate=wanted[0])
        model.data = np.where(good, residuals, np.nan).astype(np.float32)
        model.meta.cal_step.klip = "COMPLETE"
        return model


def _product(
    planned: PlannedReduction, result: ReductionResult, target: DataModel, exposure: int, star: StarPosition
) -> DataModel:
    """``psfsub`` of one exposure: each integration minus the star's model."""
    sequence = planned.inputs.sequence
    subtracted = integrations_of(planned.plan, result, exposure)
    window = planned.inputs.windows[exposure]
    flags = science_flags(target)
    product = detector_cube(
        target, subtracted.data, subtracted.variance, flags=None if flags is None else flags[:, window[0], window[1]]
    )
    product.meta.wcsinfo.crpix1 = float(sequence.star[exposure][0]) + 1
    product.meta.wcsinfo.crpix2 = float(sequence.star[exposure][1]) + 1
    params = planned.plan.params
    templated = params.use_templates and params.method != "nmf" and sequence.templates is not None
    add_cards(
        product,
        [
            ("KLMODES", result.recommended, "Number of modes subtracted"),
            ("BKGTMPL", templated, "Pattern of the background fitted as a template"),
        ],
    )
    if planned.ranking is not None and sequence.reference_exposure is not None:
        add_table(product, "REFRANK", ranking_table(planned.ranking, sequence.reference_exposure))
    add_cards(product, star_cards(star))
    add_table(product, STAR_TABLE, star_table([target], star))
    add_table(product, PARAMETERS_TABLE, parameters_table(planned))
    product.meta.cal_step.klip = "COMPLETE"
    return product


def filled_frames(model: DataModel) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Frames of an exposure with NaN pixels filled from their neighbors, and which pixels were good.

    The official algorithm spreads a single NaN over the whole frame, without a word.
    """
    frames = np.array(model.data, dtype=np.float64)
    good = np.isfinite(frames)
    if not good.all():
        log.warning(
            "%s: %d NaN pixels are interpolated from their neighbors for the official algorithm, and reset to NaN "
            "in its product", model_name(model), int((~good).sum()))  # fmt: skip
        frames = np.stack([fill_bad(frame) for frame in frames])
    return frames, good


def _about_template(inputs: SequenceInput, params: ReductionParams) -> str:
    """What the log says of the background's template."""
    if inputs.sequence.templates is None:
        return "the science files contain no mean background of stage 2: no background template is fitted"
    if not params.use_templates:
        return "use_templates is off: no background template is fitted"
    if inputs.measured_template:
        return "the mean background of stage 2 is fitted as a template in every zone"
    return (
        "the science files contain no mean background of stage 2: the pattern that a uniform background has behind the "
        "mask is fitted as a template in every zone"
    )
