"""What the maps of a run say of the sources in their headers."""

import numpy as np
from astropy.io import fits

from lyot.analysis.maps import _source_cards
from lyot.measure.matched_filter import MatchedFilter


def test_a_source_whose_flux_is_not_known_still_gives_a_header():
    """Where a bright source leaves too few places of its ring, its own flux is NaN, which no header takes."""
    flux = np.full((9, 9), 2e-5)
    flux[4, 4] = np.nan
    maps = MatchedFilter(flux, flux, flux, np.ones((9, 9), np.int32), np.where(np.isfinite(flux), 6.0, np.nan))
    cards = _source_cards(maps, ((4, 4), (1, 7)))
    header = fits.Header([(key, *card) for key, card in cards.items()])
    assert header["NSOURCE"] == 2 and (header["SRCX1"], header["SRCY1"]) == (5.0, 5.0)
    assert "SRCF1" not in header and header["SRCF2"] == 2e-5
