"""What is proposed where the program has no reference or background: same configuration, nearest in time and sky."""

from __future__ import annotations

from dataclasses import replace

from lyot.archive import MastClient
from lyot.archive.proposals import propose, rank
from lyot.exposures.exposure import Exposure

from .server import Archive

STAR = Exposure(
    root="jw03333001001_04101_00001", exposure_type="MIR_4QPM", filter="F1550C", mask="4QPM_1550", subarray="MASK1550",
    target="Alpha", program="03333", observation="001", sky=(201.0, -51.0), time=59780.0,
)  # fmt: skip


def _other(n: int, **values: object) -> Exposure:
    base = replace(STAR, root=f"jw04444{n:03d}001_04101_00001", program="04444", observation=f"{n:03d}", is_psf=True)
    return replace(base, **values)  # type: ignore[arg-type]


def test_nearest_in_time_and_sky_first() -> None:
    near = _other(1, time=59781.0, sky=(202.0, -51.0))
    late = _other(2, time=59880.0, sky=(201.0, -51.0))
    far = _other(3, time=59781.0, sky=(21.0, 51.0))
    unknown = _other(4, time=None, sky=None)
    others = [
        _other(5, filter="F1140C"), _other(6, mask="4QPM_1140"), _other(7, subarray="FULL"),
        _other(8, is_psf=False), _other(9, is_background=True),
    ]  # fmt: skip
    ranked = rank(STAR, "reference", [unknown, far, late, *others, near])
    assert [p.observation for p in ranked] == ["001", "003", "002", "004"]
    assert [p.observation for p in rank(STAR, "background", [near, *others])] == ["009"]
    assert ranked[0].days == 1.0
    # one degree of right ascension at declination -51 deg is cos(51 deg) = 0.6293 deg on the sky
    assert abs(ranked[0].degrees - 0.6293) < 1e-3
    assert "program 4444, observation 1 (Alpha, 1 exposure): 1 days and 1 deg away" in str(ranked[0])


def test_exposures_of_one_observation_go_together() -> None:
    dithers = [_other(1, root=f"jw04444001001_04101_{n:05d}") for n in range(1, 10)]
    (proposal,) = rank(STAR, "reference", dithers)
    assert len(proposal.exposures) == 9


def test_archive_is_asked_for_the_filter(client: MastClient, archive: Archive) -> None:
    found = propose(STAR, "background", client)
    assert [(p.program, p.observation) for p in found] == [("01386", "030"), ("01386", "031")]
    assert [p.observation for p in propose(STAR, "reference", client)] == ["007"]
    assert not propose(replace(STAR, filter="F1065C"), "reference", client)
