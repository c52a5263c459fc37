"""Parameters of the stage-3 reduction."""

from __future__ import annotations

from dataclasses import dataclass

from lyot.params import param


@dataclass(frozen=True)
class ReductionParams:
    """How the star is subtracted and the rolls are combined."""

    strategy: str = param(
        "rdi",
        help="frames the star is modeled from: reference star, other rolls, both, or plain roll subtraction",
        choices=("rdi", "adi", "adi+rdi", "roll"),
    )
    method: str = param(
        "klip", help="how the star is modeled from those frames", choices=("klip", "classical", "loci", "nmf")
    )
    truncations: tuple[int, ...] = param(
        (1, 2, 3, 5, 7, 9, 14, 20, 30, 50), help="numbers of modes kept, all made in one go", min=1
    )
    recommended: int | None = param(
        None, help="number of modes of the main product; none: the largest of `truncations` up to 9", min=1
    )
    science_frames: str = param(
        "exposure",
        help="subtract from the mean of each exposure or each integration",
        choices=("exposure", "integration"),
    )
    reference_frames: str = param(
        "exposure",
        help="use the mean of each reference exposure or each integration",
        choices=("exposure", "integration"),
    )
    inner_radius: float = param(0.0, help="separation inside which pixels are excluded", unit="arcsec", min=0.0)
    outer_radius: float | None = param(
        None, help="separation outside which pixels are excluded; none: the whole field", unit="arcsec", min=0.0
    )
    zone_edges: tuple[float, ...] | None = param(
        None,
        help="radii that divide the field into annuli, each with its own fit; empty: one fit; none: 2.4 and 5 behind "
        "the masks of MIRI, one fit elsewhere",
        unit="arcsec",
        min=0.0,
    )
    sectors: int = param(1, help="sectors that each annulus but the innermost is divided into", min=1, max=36)
    quadrants: bool = param(False, help="divide the annuli along the boundaries of the four-quadrant mask")
    fit_margin: float = param(
        0.0,
        help="margin by which the region of the fit extends beyond the region of the subtraction",
        unit="arcsec",
        min=0.0,
    )
    boundary_buffer: float = param(
        0.0,
        help="distance from a quadrant boundary within which pixels are excluded from the fit",
        unit="arcsec",
        min=0.0,
    )
    subtract_mean: bool = param(True, help="fit and subtract a constant in each zone as well")
    use_templates: bool = param(
        True, help="fit the mean background of stage 2 in each zone as well, where the science files hold it"
    )
    min_good_references: float = param(
        0.5, help="minimum fraction of references in which a pixel must be good", min=0.0, max=1.0
    )
    damping: float = param(
        1e-3, help="loci: damping of the least squares, relative to the mean power of a reference", min=0.0
    )
    roll_weights: str = param(
        "throughput",
        help="weights of the rolls: by variance and throughput, by variance alone, or equal",
        choices=("throughput", "variance", "equal"),
    )
