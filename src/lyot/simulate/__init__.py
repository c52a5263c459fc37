"""Scene, optics and detector combined into an observing sequence with its calibration references and its truth."""
