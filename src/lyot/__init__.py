"""Lyot: JWST/MIRI coronagraphy from raw ramps to a measured planet."""

__version__ = "0.1.0"
