"""Parameters of the jump detection."""

from __future__ import annotations

import dataclasses

from lyot.params import param


@dataclasses.dataclass(frozen=True)
class JumpParams:
    """Parameters of the jump detection: names, defaults and meaning of the official step (jwst 3.0), our own last.

    Examples
    --------
    >>> JumpParams(rejection_threshold=3.5).flag_4_neighbors
    True
    """

    rejection_threshold: float = param(4.0, min=0, help="Threshold with more than 4 usable groups", unit="sigma")
    three_group_rejection_threshold: float = param(6.0, min=0, help="Threshold with 3 usable groups", unit="sigma")
    four_group_rejection_threshold: float = param(5.0, min=0, help="Threshold with 4 usable groups", unit="sigma")
    maximum_cores: str = param("1", help="Accepted for compatibility; threads are set by the pipeline")
    flag_4_neighbors: bool = param(True, help="Flag the four perpendicular neighbors of each jump")
    max_jump_to_flag_neighbors: float = param(1000.0, help="Maximum jump whose neighbors are flagged", unit="sigma")
    min_jump_to_flag_neighbors: float = param(10.0, help="Minimum jump whose neighbors are flagged", unit="sigma")
    after_jump_flag_dn1: float = param(0.0, help="First amplitude above which later groups are flagged", unit="DN")
    after_jump_flag_time1: float = param(0.0, help="Time flagged after a jump above the first amplitude", unit="s")
    after_jump_flag_dn2: float = param(0.0, help="Second amplitude above which later groups are flagged", unit="DN")
    after_jump_flag_time2: float = param(0.0, help="Time flagged after a jump above the second amplitude", unit="s")
    expand_large_events: bool = param(False, help="Expand snowballs (near-infrared detectors)")
    min_sat_area: float = param(1.0, help="Minimum saturated core of a snowball", unit="pixel")
    min_jump_area: float = param(5.0, help="Minimum area of a large event", unit="pixel")
    expand_factor: float = param(2.0, help="Expansion factor of the ellipse of a large event")
    use_ellipses: bool = param(False, help="Deprecated, without effect")
    sat_required_snowball: bool = param(True, help="A snowball needs a saturated core")
    min_sat_radius_extend: float = param(2.5, help="Minimum saturated core that is extended", unit="pixel")
    sat_expand: int = param(2, help="Growth of the radius of saturated cores", unit="pixel")
    edge_size: int = param(25, help="Distance from the edge within which no saturated core is required", unit="pixel")
    mask_snowball_core_next_int: bool = param(True, help="Flag saturated cores in the next integration")
    snowball_time_masked_next_int: int = param(4000, help="Time flagged in the next integration", unit="s")
    find_showers: bool = param(False, help="Flag MIRI cosmic-ray showers")
    max_shower_amplitude: float = param(4.0, help="Maximum amplitude of a shower", unit="DN/s")
    extend_snr_threshold: float = param(1.2, help="Minimum S/N of extended emission")
    extend_min_area: int = param(90, help="Minimum area of extended emission", unit="pixel")
    extend_inner_radius: float = param(1.0, help="Inner radius of the smoothing ring", unit="pixel")
    extend_outer_radius: float = param(2.6, help="Outer radius of the smoothing ring", unit="pixel")
    extend_ellipse_expand_ratio: float = param(1.1, help="Expansion factor of the ellipse of a shower")
    time_masked_after_shower: float = param(15.0, help="Time flagged after a shower", unit="s")
    min_diffs_single_pass: int = param(
        10, help="Number of usable differences above which all jumps are flagged in one pass"
    )
    max_extended_radius: int = param(200, help="Maximum radius of a snowball or shower", unit="pixel")
    minimum_groups: int = param(3, help="Minimum number of usable groups")
    minimum_sigclip_groups: int = param(100, help="Minimum number of integrations for sigma clipping")
    only_use_ints: bool = param(True, help="Clip each group over integrations; false: all differences together")
    median_over: str = param(
        "exposure",
        choices=("exposure", "file", "integration"),
        help="groups of the median that estimates the slope of a pixel: of the whole exposure, of the file (as in the "
        "official step; differs for segments only) or of each integration",
    )
