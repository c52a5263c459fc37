"""The reduction of stage 3 planned from its products and parameters, as the subtraction plans it.

`KlipStep` writes the parameters that it used into its products (table ``KLIPPARS``), so that a later step, or a
measurement, can repeat the reduction from files alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import ConfigError
from lyot.exposures.headers import PARAMETERS_TABLE
from lyot.instrument import Coronagraph
from lyot.params import describe, from_mapping
from lyot.reduction.choice import ChoiceParams, check_drift, choose_parameters, reject
from lyot.reduction.second_pass import star_changes
from lyot.steps.coronagraphs import coronagraph_of
from lyot.steps.extra_fits import read_table
from lyot.steps.models import DataModel, ModelInput
from lyot.steps.segments import open_exposures
from lyot.steps.sequence_io import SequenceInput, open_exposure
from lyot.steps.stage3_inputs import sequence_with_references
from lyot.steps.stage3_throughput import throughput_of, uniform_background_of
from lyot.subtract import CoronagraphicSequence, ReductionParams, ReductionPlan, plan_reduction
from lyot.subtract.references import ReferenceRanking


@dataclass(frozen=True)
class PlannedReduction:
    """A reduction that is ready to be done.

    Attributes
    ----------
    plan : ReductionPlan
    inputs : SequenceInput
        Arrays as they were read, all references included.
    ranking : ReferenceRanking or None
        Of all references.
    choice : ChoiceParams
    coronagraph : Coronagraph or None
        None where there is no model of it.
    use_throughput : bool
        Whether the mask's throughput weights the rolls.
    """

    plan: ReductionPlan
    inputs: SequenceInput
    ranking: ReferenceRanking | None
    choice: ChoiceParams
    coronagraph: Coronagraph | None
    use_throughput: bool


def plan_exposures(
    targets: Sequence[DataModel],
    references: DataModel | None,
    params: ReductionParams,
    choice: ChoiceParams,
    *,
    use_throughput: bool = True,
) -> PlannedReduction:
    """Plan the reduction of science exposures.

    Parameters
    ----------
    targets : sequence of CubeModel
        Calibrated science exposures.
    references : CubeModel or None
        Registered reference stack.
    params : ReductionParams
    choice : ChoiceParams
    use_throughput : bool, optional
        Weight the rolls by the throughput of the mask.
    """
    throughput, uniform = (
        (throughput_of(targets[0]), uniform_background_of(targets[0])) if use_throughput else (None, None)
    )
    inputs = sequence_with_references(targets, references, throughput=throughput, uniform_background=uniform)
    sequence, ranking = reject(inputs.sequence, choice)
    known = coronagraph_of(targets[0])
    chosen = choose_parameters(sequence, params, choice, known)
    fixed = params if chosen is None else chosen.params
    plan = plan_reduction(sequence, fixed, changes=_expected_changes(sequence, choice, known, fixed))
    return PlannedReduction(plan, inputs, ranking, choice, known, use_throughput)


def _expected_changes(
    sequence: CoronagraphicSequence, choice: ChoiceParams, known: Coronagraph | None, params: ReductionParams
) -> NDArray[np.float64] | None:
    """Images of the drifts that are fitted with the modes; None where none is asked for."""
    if choice.wavefront_drift == 0:
        return None
    if known is None:
        raise ConfigError(
            "klip.wavefront_drift requires a model of the coronagraph, which exists for MIRI only; set it to 0."
        )
    check_drift(choice, params)
    return star_changes(sequence, known, choice.wavefront_drift)


def reduction_plan(
    science: Sequence[ModelInput],
    references: ModelInput | None,
    params: ReductionParams | None = None,
    *,
    choice: ChoiceParams | None = None,
    use_throughput: bool = True,
) -> ReductionPlan:
    """The reduction of saved products as a callable: for injection tests and forward models.

    Parameters
    ----------
    science : sequence of str or CubeModel
        Calibrated science exposures (``calints``), in the order of the association.
    references : str, CubeModel or None
        Registered reference stack (``psfalign``).
    params : ReductionParams, optional
        As the stage was run with.
    choice : ChoiceParams, optional
        As the stage was run with; `choose` is not looked at.
    use_throughput : bool, optional
        As the stage was run with.

    Returns
    -------
    ReductionPlan
        ``plan.reduce()`` gives the images of stage 3; ``plan.reduce(frames)`` those of other science frames.
    """
    targets = open_exposures(science)
    stack = None if references is None else open_exposure(references)
    fixed = replace(choice or ChoiceParams(), choose="fixed")
    return plan_exposures(targets, stack, params or ReductionParams(), fixed, use_throughput=use_throughput).plan


def parse_truncate(value: Any) -> tuple[int, ...]:
    """Numbers of modes from the official parameter: None, a number, or a list of numbers or strings.

    Raises
    ------
    ConfigError
        If one of them is not a whole number.
    """
    if value is None:
        return ()
    items = value if isinstance(value, (list, tuple)) else [value]
    try:
        return tuple(int(item) for item in items if str(item).strip() not in ("", "None"))
    except ValueError:
        raise ConfigError(f"klip.truncate: expected whole numbers, got {value!r}.") from None


def parameters_table(planned: PlannedReduction) -> NDArray[Any]:
    """The parameters of a reduction as a table of names and JSON values; what was chosen from the data is fixed."""
    values: dict[str, Any] = {
        **asdict(planned.plan.params),
        **asdict(planned.choice),
        "choose": "fixed",
        "truncations": planned.plan.truncations,
        "recommended": planned.plan.recommended,
        "use_throughput": planned.use_throughput,
    }
    rows = [(name, json.dumps(value)) for name, value in values.items()]
    names, texts = (max(len(r[i]) for r in rows) for i in (0, 1))
    return np.array(rows, dtype=[("NAME", f"S{names}"), ("VALUE", f"S{texts}")])


def parameters_of(subtracted: DataModel) -> dict[str, Any]:
    """The parameters that `KlipStep` wrote into a star-subtracted exposure; empty where there are none."""
    table = read_table(subtracted, PARAMETERS_TABLE)
    if table is None:
        return {}
    text = [[v.decode() if isinstance(v, bytes) else str(v) for v in table[name]] for name in ("NAME", "VALUE")]
    return {name.strip(): json.loads(value) for name, value in zip(*text, strict=True)}


def choice_params(parameters: Mapping[str, Any]) -> ChoiceParams:
    """`ChoiceParams` from the parameters of the klip step."""
    return from_mapping(ChoiceParams, _known(ChoiceParams, parameters))


def _known(cls: type, parameters: Mapping[str, Any]) -> dict[str, Any]:
    names = {info.name for info in describe(cls)}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in parameters.items() if name in names}


def reduction_params(parameters: Mapping[str, Any]) -> ReductionParams:
    """`ReductionParams` from the parameters of the klip step, with ``truncate`` taken into account."""
    values = _known(ReductionParams, parameters)
    truncate = parse_truncate(parameters.get("truncate"))
    if truncate:
        values["truncations"] = truncate
        if len(truncate) == 1:
            values["recommended"] = truncate[0]
    return from_mapping(ReductionParams, values, where="klip: ")
