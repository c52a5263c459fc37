"""Results of a search: peaks, their classification, and their false-alarm probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lyot.measure.distributions import normal_sf

SOURCE, CANDIDATE, REJECTED, EXTENDED = "source", "candidate", "rejected", "extended"
"""What a peak can be: `Detection.status`."""

NOT_COMPARED = "not compared between rolls"
"""`Detection.reason` of a source that only one of several rolls could show."""

POINT_SOURCES = (SOURCE, CANDIDATE)
"""What is measured and taken out of the noise as a point source."""


@dataclass(frozen=True)
class Detection:
    """One source.

    Attributes
    ----------
    x, y : float
        0-based pixel position in the image.
    separation : float
        From the star, arcsec.
    position_angle : float
        Degrees east of north.
    snr : float
        S/N at the peak with small-sample statistics (`source_snr` where there is a template, else `snr_map`).
    significance : float
        Gaussian sigmas, with the combined noise (`lyot.measure.significance`); without a template, from the ring alone.
    signal, noise : float
        Aperture flux and its noise, unit of the image times pixels.
    truncation : int
        Number of KL modes (or other truncation) of the image in which it is most significant; -1 when not given.
    images : int
        Number of images in which it is above threshold.
    false_alarm : float
        Probability that Gaussian noise has a peak as significant as this, or more, anywhere in the searched area (of
        all images, taken as independent).
    ring_significance : float
        Gaussian sigmas of `snr` from the apertures of its ring alone.
    status : str
        ``source``; ``candidate``: a source that may be noise, by `DetectionParams.max_false_alarm`; ``rejected``: not a
        point source, for the given reason; ``extended``: part of extended emission such as a disk.
    reason : str
        Reason why it is not a source; of a source `NOT_COMPARED`, where the other rolls have no data or the mask hides
        it in them, and empty otherwise.
    shape : float
        Deviation from the image of a point source, sigmas (`lyot.measure.vetting`); NaN where it is not known.
    roll_difference : float
        Difference between rolls, Gaussian sigmas; NaN where it was not measured.
    rolls : int
        Number of rolls that were compared.

    Examples
    --------
    >>> import numpy as np
    >>> from lyot.measure import detect_sources
    >>> y, x = np.indices((81, 81)) - 40.0
    >>> image = np.random.default_rng(1).normal(size=x.shape) + 20 * np.exp(-((x - 20) ** 2 + y**2) / 4)
    >>> (found,) = detect_sources(image, center=(40, 40), fwhm=4.0, pixel_scale=0.11)
    >>> found.accepted, round(found.x), round(found.y), found.snr > 10
    (True, 60, 40, True)
    """

    x: float
    y: float
    separation: float
    position_angle: float
    snr: float
    significance: float
    signal: float
    noise: float
    truncation: int
    images: int
    false_alarm: float = float("nan")
    ring_significance: float = float("nan")
    status: str = SOURCE
    reason: str = ""
    shape: float = float("nan")
    roll_difference: float = float("nan")
    rolls: int = 0

    @property
    def accepted(self) -> bool:
        """Whether it is classified as a point source; also true for a candidate."""
        return self.status in POINT_SOURCES


def false_alarm_probability(significance: float, elements: float) -> float:
    """Probability that Gaussian noise has a peak of `significance` or more anywhere in the searched area.

    A smooth map has more peaks than it has independent elements: for a Gaussian field whose correlation has the width
    of an aperture, 0.48 u^2 times the elements that lie beyond u sigmas (the expected number of maxima, u above 2).

    Parameters
    ----------
    significance : float
        Gaussian sigmas u.
    elements : float
        Searched area over the area of an aperture.
    """
    peaks = elements * max(0.48 * significance**2, 1.0) * normal_sf(significance)
    return float(-np.expm1(-peaks))
