"""Measurement on arrays: noise, S/N and detection maps, contrast, injection, companions."""

from lyot.measure.companion import Companion, CompanionParams, fit_companions
from lyot.measure.contrast import ContrastCurve, ContrastParams, contrast_curve, limit_map
from lyot.measure.detection import Detection, DetectionParams, detect_sources
from lyot.measure.injection import Injector
from lyot.measure.masking import model_mask
from lyot.measure.noise import SignalToNoise, snr_map
from lyot.measure.photometry import Star
from lyot.measure.systematics import SystematicParams, error_budget

__all__ = [
    "Companion",
    "CompanionParams",
    "ContrastCurve",
    "ContrastParams",
    "Detection",
    "DetectionParams",
    "Injector",
    "SignalToNoise",
    "Star",
    "SystematicParams",
    "contrast_curve",
    "detect_sources",
    "error_budget",
    "fit_companions",
    "limit_map",
    "model_mask",
    "snr_map",
]
