"""Stage 3 on arrays: registration, reference choice, zones, KLIP and related methods, roll combination."""

from lyot.subtract.combine import fill_bad
from lyot.subtract.parameters import ReductionParams
from lyot.subtract.plan import ReductionPlan, plan_reduction
from lyot.subtract.result import ReductionResult
from lyot.subtract.sequence import CoronagraphicSequence

__all__ = ["CoronagraphicSequence", "ReductionParams", "ReductionPlan", "ReductionResult", "fill_bad", "plan_reduction"]
