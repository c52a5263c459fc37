"""Parameters of the stage-3 reduction."""

from __future__ import annotations

from dataclasses import dataclass

from lyot.params import param


@dataclass(frozen=True)
class ReductionParams:
    """How the star is subtracted and the rolls are combined.

    Examples
    --------
    >>> from lyot.subtract import ReductionParams
    >>> params = ReductionParams(truncations=(1, 3, 9), recommended=3)
    >>> params.strategy, params.truncations
    ('rdi', (1, 3, 9))
    >>> ReductionParams(strategy="adi").strategy
    'adi'
    """

    strategy: str = param(
        "rdi",
        help="frames of the PSF library: rdi (reference star), adi (other rolls), adi+rdi (both), or roll (plain "
        "roll subtraction)",
        choices=("rdi", "adi", "adi+rdi", "roll"),
    )
    method: str = param("klip", help="algorithm of the PSF model", choices=("klip", "classical", "loci", "nmf"))
    truncations: tuple[int, ...] = param(
        (1, 2, 3, 5, 7, 9, 14, 20, 30, 50),
        help="numbers of KL modes or components, all computed in one reduction",
        min=1,
    )
    recommended: int | None = param(
        None, help="number of modes of the main product; none: the largest of `truncations` up to 9", min=1
    )
    science_frames: str = param(
        "exposure",
        help="star subtracted from the mean of each exposure, or from each integration",
        choices=("exposure", "integration"),
    )
    reference_frames: str = param(
        "exposure",
        help="PSF library built from the mean of each reference exposure, or from each integration",
        choices=("exposure", "integration"),
    )
    inner_radius: float = param(0.0, help="inner radius of the reduced region", unit="arcsec", min=0.0)
    outer_radius: float | None = param(
        None, help="outer radius of the reduced region; none: the whole field", unit="arcsec", min=0.0
    )
    zone_edges: tuple[float, ...] | None = param(
        None,
        help="boundaries of the annuli, each with its own fit; empty: one fit; none: 2.4 and 5 for the MIRI masks, "
        "one fit otherwise",
        unit="arcsec",
        min=0.0,
    )
    sectors: int = param(1, help="number of sectors of each annulus except the innermost", min=1, max=36)
    quadrants: bool = param(False, help="divide the annuli along the boundaries of the four-quadrant mask")
    fit_margin: float = param(
        0.0,
        help="margin by which the region of the fit extends beyond that of the subtraction",
        unit="arcsec",
        min=0.0,
    )
    boundary_buffer: float = param(
        0.0,
        help="half width of the strip along the quadrant boundaries that is excluded from the fit",
        unit="arcsec",
        min=0.0,
    )
    subtract_mean: bool = param(True, help="also fit and subtract a constant in each zone")
    use_templates: bool = param(
        True,
        help="also fit a background in each zone: the mean background of stage 2 if the science files contain it, "
        "otherwise the pattern of a uniform background behind the mask",
    )
    noise_correction: bool = param(
        True,
        help="subtract all of the star's mean image: around the star divide the first coefficient by the part of its "
        "power that is not noise, farther out subtract its bright parts completely",
    )
    min_good_references: float = param(
        0.5, help="minimum fraction of references in which a pixel must be good", min=0.0, max=1.0
    )
    damping: float = param(
        1e-3, help="loci: regularization of the least squares, relative to the mean power of a reference", min=0.0
    )
    roll_weights: str = param(
        "throughput",
        help="weights of the rolls: throughput (variance and throughput), variance, or equal",
        choices=("throughput", "variance", "equal"),
    )
