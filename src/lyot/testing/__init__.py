"""Hypothesis strategies for test data: ramps, flags, cubes with bad pixels, sequences, exposures, sources, wavefronts.

For tests of this package and of code that uses it; needs ``hypothesis``, which the extra ``test`` installs.
"""

from lyot.testing.strategies import cubes, dq_masks, exposures, ramps, sequences, source_offsets, wavefronts

__all__ = ["cubes", "dq_masks", "exposures", "ramps", "sequences", "source_offsets", "wavefronts"]
