"""What SIMBAD says of a star, from rows as its TAP service gives them; nothing is asked here."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from lyot.analysis.star_flux import StarSection, load_star, resolved
from lyot.archive import simbad
from lyot.errors import ArchiveError, ConfigError, InputError
from lyot.instrument import coronagraph


def rows(*, k=6.683, error=0.026, kind="F5V", parallax=9.68):
    columns = {"flux": k, "flux_err": error, "plx_value": parallax}
    table = Table({"main_id": ["HD 106906"], "sp_type": [kind], "reference": ["2003yCat.2246....0C"]})
    for name, value in columns.items():
        table[name] = MaskedColumn([0.0 if value is None else value], mask=[value is None])
    return table


@pytest.fixture
def asked(monkeypatch):
    """Queries that were asked, each answered by `rows`."""
    found = []

    def answer(query):
        found.append(query)
        return rows()

    monkeypatch.setattr(simbad, "_ask", answer)
    return found


def test_a_star_by_the_name_of_a_proposal(asked):
    star = simbad.look_up_star("HD-106906")
    assert (star.name, star.k_magnitude, star.k_error, star.spectral_type) == ("HD 106906", 6.683, 0.026, "F5V")
    assert "'HD-106906', 'HD 106906'" in asked[0]


def test_a_quote_in_a_name_does_not_end_it(asked):
    simbad.look_up_star("Barnard's star")
    assert "'Barnard''s star'" in asked[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Table(), "has no star HD 1"),
        (rows(k=None), "no K magnitude for HD 106906"),
        (rows(k=None, kind=""), "no K magnitude and no spectral type"),
    ],
)
def test_what_simbad_does_not_have_is_one_sentence(monkeypatch, answer, words):
    monkeypatch.setattr(simbad, "_ask", lambda query: answer)
    with pytest.raises(InputError, match=words):
        simbad.look_up_star("HD 1")


def test_offline_is_one_sentence(monkeypatch):
    class Offline:
        def query_tap(self, query):
            raise ConnectionError("Max retries exceeded\nwith url")

    monkeypatch.setattr("astroquery.simbad.Simbad", Offline)
    with pytest.raises(ArchiveError, match=r"cannot be reached \(ConnectionError\); give the flux of the star"):
        simbad.look_up_star("HD 106906")


def test_the_star_of_the_headers_is_looked_up_once(asked):
    section = resolved(StarSection(simbad="target"), "HD-106906")
    assert (section.simbad, section.k_magnitude, section.spectral_type) == ("HD 106906", 6.683, "F5V")
    assert section.distance == pytest.approx(1000 / 9.68)
    assert resolved(section, "HD-106906") is section and len(asked) == 1
    star = load_star(section, coronagraph("F1140C"))
    assert star.source == "SIMBAD, HD 106906: K = 6.683, F5V"
    assert star.error / star.flux == pytest.approx(np.hypot(0.1, 0.026) * 0.921, rel=1e-3)  # mag to relative flux


def test_a_distance_that_was_given_stays(asked):
    assert resolved(StarSection(simbad="HD 106906", distance=103.3), "").distance == 103.3


def test_k_magnitude_and_spectral_type_belong_together():
    with pytest.raises(ConfigError, match="are used together"):
        StarSection(k_magnitude=6.7).check()
    with pytest.raises(ConfigError, match="not magnitude and simbad"):
        StarSection(magnitude=6.7, simbad="HD 1").check()
