"""Parameters of the coronagraph model."""

from __future__ import annotations

from dataclasses import dataclass

from lyot.errors import ConfigError
from lyot.params import param


@dataclass(frozen=True)
class OpticsParams:
    """Parameters of the coronagraph model; see `lyot.optics.CoronagraphModel`.

    Examples
    --------
    >>> from lyot.optics import CoronagraphModel, OpticsParams
    >>> model = CoronagraphModel.build("F1550C", OpticsParams(n_wavelengths=1, pupil_pixels=64))
    >>> model.off_axis_psf((1.5, 1.5), size=21).shape
    (21, 21)
    """

    pupil_pixels: int = param(256, help="number of samples across the pupil array", min=64, max=2048)
    n_wavelengths: int = param(7, help="number of wavelengths across the band", min=1, max=51)
    spectral_index: float = param(
        2.0, help="exponent of the flux density per frequency of the source, 2 for a hot star"
    )
    samples_per_resolution: float = param(
        4.5, help="number of image samples per lambda/D before integration over detector pixels", min=3.0, max=20.0
    )
    stop: str = param(
        "geometric",
        help="Lyot stop of the four-quadrant masks: geometric (shape fitted to on-sky images), effective (free map "
        "fitted to a star, with its wavefront and mask errors; for starlight), eroded (pupil with edges moved "
        "inward)",
        choices=("geometric", "effective", "eroded"),
    )
    fitted_optics: str = param(
        "", help="file written by lyot fit-optics for the effective stop; empty: the one included in Lyot"
    )
    fqpm_stop_transmission: float = param(
        0.62, help="open fraction of the eroded stop of the four-quadrant masks", min=0.2, max=0.95
    )
    lyot_stop_transmission: float = param(0.72, help="open fraction of the stop of the Lyot spot", min=0.2, max=0.95)
    shear_x: float | None = param(
        None,
        help="shift of the Lyot stop along V2, fraction of the pupil diameter; none: 0 for the geometric stop, which "
        "includes its shift, 0.0106 for an eroded one",
        min=-0.1,
        max=0.1,
    )
    shear_y: float | None = param(
        None,
        help="shift of the Lyot stop along V3, fraction of the pupil diameter; none: 0 for the geometric stop, which "
        "includes its shift, 0.0106 for an eroded one",
        min=-0.1,
        max=0.1,
    )
    wavefront_rms: float = param(
        120.0,
        help="rms wavefront error over the pupil; not for the effective optics, which include their own",
        unit="nm",
        min=0.0,
        max=2000.0,
    )
    wavefront_seed: int = param(20220711, help="seed of the wavefront error map", min=0)
    charge_diffusion: float = param(
        0.03,
        help="Gaussian sigma of the charge diffusion between pixels; not for the effective optics, which include "
        "their own",
        unit="arcsec",
        min=0.0,
        max=1.0,
    )

    def __post_init__(self) -> None:
        if self.fitted_optics and self.stop != "effective":
            raise ConfigError(f"fitted_optics: requires stop = 'effective', got '{self.stop}'; change one of them.")
