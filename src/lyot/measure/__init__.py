"""Measurement on arrays: noise, S/N and detection maps, contrast, injection, companions."""
