"""Physical model of the coronagraph: pupil, wavefront, mask, Lyot stop, point-spread functions and throughput."""

from lyot.optics.field import field_stop_mask
from lyot.optics.model import CoronagraphModel
from lyot.optics.params import OpticsParams
from lyot.optics.wavefront import Wavefront, drifted, realistic_wavefront

__all__ = [
    "CoronagraphModel",
    "OpticsParams",
    "Wavefront",
    "drifted",
    "field_stop_mask",
    "realistic_wavefront",
]
