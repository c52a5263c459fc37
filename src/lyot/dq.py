"""Data-quality bits, as the JWST archive defines them.

The values are those of `stdatamodels.jwst.datamodels.dqflags` (a test holds them equal); they stand here so that the
array rooms need no jwst import. ``pixel`` flags are 32-bit (PIXELDQ, DQ), ``group`` flags are 8-bit (GROUPDQ).
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ADJ_OPEN",
    "AD_FLOOR",
    "BAD_REF_PIXEL",
    "CHARGELOSS",
    "DEAD",
    "DO_NOT_USE",
    "DROPOUT",
    "FLAGS",
    "FLUX_ESTIMATED",
    "GOOD",
    "HOT",
    "JUMP_DET",
    "LOW_QE",
    "MSA_FAILED_OPEN",
    "NONLINEAR",
    "NON_SCIENCE",
    "NO_FLAT_FIELD",
    "NO_GAIN_VALUE",
    "NO_LIN_CORR",
    "NO_SAT_CHECK",
    "OPEN",
    "OTHER_BAD_PIXEL",
    "OUTLIER",
    "PERSISTENCE",
    "RC",
    "REFERENCE_PIXEL",
    "RESERVED",
    "SATURATED",
    "TELEGRAPH",
    "UNRELIABLE_BIAS",
    "UNRELIABLE_DARK",
    "UNRELIABLE_FLAT",
    "UNRELIABLE_SLOPE",
    "WARM",
    "names",
]

GOOD: Final = 0
DO_NOT_USE: Final = 1
SATURATED: Final = 2
JUMP_DET: Final = 4
DROPOUT: Final = 8
OUTLIER: Final = 16
PERSISTENCE: Final = 32
AD_FLOOR: Final = 64
CHARGELOSS: Final = 128
RESERVED: Final = 256
NON_SCIENCE: Final = 512
DEAD: Final = 1024
HOT: Final = 2048
WARM: Final = 4096
LOW_QE: Final = 8192
RC: Final = 16384
TELEGRAPH: Final = 32768
NONLINEAR: Final = 65536
BAD_REF_PIXEL: Final = 131072
NO_FLAT_FIELD: Final = 262144
NO_GAIN_VALUE: Final = 524288
NO_LIN_CORR: Final = 1048576
NO_SAT_CHECK: Final = 2097152
UNRELIABLE_BIAS: Final = 4194304
UNRELIABLE_DARK: Final = 8388608
UNRELIABLE_SLOPE: Final = 16777216
UNRELIABLE_FLAT: Final = 33554432
OPEN: Final = 67108864
ADJ_OPEN: Final = 134217728
FLUX_ESTIMATED: Final = 268435456
MSA_FAILED_OPEN: Final = 536870912
OTHER_BAD_PIXEL: Final = 1073741824
REFERENCE_PIXEL: Final = 2147483648

FLAGS: Final[dict[str, int]] = {
    name: value for name, value in globals().items() if name.isupper() and isinstance(value, int)
}
"""Every flag by its official name."""


def names(value: int) -> tuple[str, ...]:
    """Names of the flags set in `value`, lowest bit first.

    Parameters
    ----------
    value : int
        Sum of flags.

    Returns
    -------
    tuple of str
        ``("GOOD",)`` when none is set.

    Examples
    --------
    >>> from lyot import dq
    >>> dq.names(5)
    ('DO_NOT_USE', 'JUMP_DET')
    """
    found = tuple(n for n, bit in sorted(FLAGS.items(), key=lambda kv: kv[1]) if bit and value & bit)
    return found or ("GOOD",)
