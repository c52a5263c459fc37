"""Measurement on arrays: noise, S/N and detection maps, contrast, injection, companions, disks, masses, motion."""

from lyot.measure.companion import Companion, CompanionParams, fit_companions
from lyot.measure.contrast import ContrastCurve, ContrastParams, contrast_curve, limit_map
from lyot.measure.detected import Detection
from lyot.measure.detection import DetectionParams, detect_in_reduction, detect_sources
from lyot.measure.disks import DiskModel, fit_disk, same_pixels
from lyot.measure.injection import Injector
from lyot.measure.masking import model_mask
from lyot.measure.mass import EvolutionModels
from lyot.measure.noise import SignalToNoise, snr_map
from lyot.measure.photometry import Star
from lyot.measure.proper_motion import Positions, StarMotion, background_track, compare_motion
from lyot.measure.ring import RingParams, ring_image
from lyot.measure.ring_fit import RingFitParams, fit_ring
from lyot.measure.systematics import SystematicParams, error_budget

__all__ = [
    "Companion",
    "CompanionParams",
    "ContrastCurve",
    "ContrastParams",
    "Detection",
    "DetectionParams",
    "DiskModel",
    "EvolutionModels",
    "Injector",
    "Positions",
    "RingFitParams",
    "RingParams",
    "SignalToNoise",
    "Star",
    "StarMotion",
    "SystematicParams",
    "background_track",
    "compare_motion",
    "contrast_curve",
    "detect_in_reduction",
    "detect_sources",
    "error_budget",
    "fit_companions",
    "fit_disk",
    "fit_ring",
    "limit_map",
    "model_mask",
    "ring_image",
    "same_pixels",
    "snr_map",
]
