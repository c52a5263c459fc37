"""What this package registers with stpipe: classes, their names for ``strun``, and whether they are pipelines.

This module is imported by every ``strun`` and ``stpipe list``, so it imports nothing. Names are global over all
installed packages, hence the prefix ``lyot_``: ``strun jump`` stays the official step.
"""

from __future__ import annotations

_STAGE1: tuple[tuple[str, str | None, bool], ...] = (
    ("lyot.steps.detector1.Detector1Pipeline", "lyot_detector1", True),
    ("lyot.steps.stage1_corrections.DQInitStep", "lyot_dq_init", False),
    ("lyot.steps.stage1_corrections.SaturationStep", "lyot_saturation", False),
    ("lyot.steps.stage1_corrections.FirstFrameStep", "lyot_firstframe", False),
    ("lyot.steps.stage1_corrections.LastFrameStep", "lyot_lastframe", False),
    ("lyot.steps.stage1_corrections.ResetStep", "lyot_reset", False),
    ("lyot.steps.stage1_corrections.LinearityStep", "lyot_linearity", False),
    ("lyot.steps.stage1_corrections.RscdStep", "lyot_rscd", False),
    ("lyot.steps.stage1_corrections.DarkCurrentStep", "lyot_dark_current", False),
    ("lyot.steps.stage1_corrections.RefPixStep", "lyot_refpix", False),
    ("lyot.steps.stage1_slopes.JumpStep", "lyot_jump", False),
    ("lyot.steps.stage1_slopes.RampFitStep", "lyot_ramp_fit", False),
    ("lyot.steps.stage1_corrections.GainScaleStep", "lyot_gain_scale", False),
)

_STAGE2: tuple[tuple[str, str | None, bool], ...] = (
    ("lyot.steps.image2.Image2Pipeline", "lyot_image2", True),
    ("lyot.steps.stage2_background.BackgroundStep", "lyot_bkg_subtract", False),
    ("lyot.steps.stage2_bad_pixels.BadPixelStep", "lyot_bad_pixels", False),
)

_STAGE3: tuple[tuple[str, str | None, bool], ...] = (
    ("lyot.steps.coron3.Coron3Pipeline", "lyot_coron3", True),
    ("lyot.steps.stage3_outliers.FlagOutliersStep", "lyot_flag_outliers", False),
    ("lyot.steps.stage3_refs.StackRefsStep", "lyot_stack_refs", False),
    ("lyot.steps.stage3_refs.AlignRefsStep", "lyot_align_refs", False),
    ("lyot.steps.stage3_star.LocateStarStep", "lyot_locate_star", False),
    ("lyot.steps.stage3_klip.KlipStep", "lyot_klip", False),
    ("lyot.steps.stage3_combine.CombineStep", "lyot_combine", False),
    ("lyot.steps.stage3_refine.RefineStep", "lyot_refine", False),
)


def get_steps() -> tuple[tuple[str, str | None, bool], ...]:
    """Steps and pipelines of this package: (class path, name for ``strun``, is a pipeline)."""
    return _STAGE1 + _STAGE2 + _STAGE3
