"""Measurement on arrays: noise, S/N and detection maps, contrast, injection, companions."""

from lyot.measure.detection import Detection, DetectionParams, detect_sources
from lyot.measure.noise import SignalToNoise, snr_map

__all__ = ["Detection", "DetectionParams", "SignalToNoise", "detect_sources", "snr_map"]
