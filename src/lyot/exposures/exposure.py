"""Properties of an exposure, from its headers or from the archive's table of observations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lyot.exposures.names import exposure_name

Stage = Literal["uncal", "rateints", "calints"]

STAGES: Final[tuple[Stage, ...]] = ("uncal", "rateints", "calints")
"""Kinds of exposure file that a run can start from, rawest first."""

CORONAGRAPHIC_TYPES: Final = ("MIR_4QPM", "MIR_LYOT", "NRC_CORON")
"""EXP_TYPE of coronagraphic exposures."""

ACQUISITION_TYPES: Final = ("MIR_TACQ", "MIR_TACONFIRM", "NRC_TACQ", "NRC_TACONFIRM")
"""EXP_TYPE of target acquisitions and their confirmation images."""


def is_coronagraphic_type(exposure_type: object) -> bool:
    """Whether an EXP_TYPE is that of an exposure through a coronagraph."""
    return str(exposure_type) in CORONAGRAPHIC_TYPES


def is_acquisition_type(exposure_type: object) -> bool:
    """Whether an EXP_TYPE is that of a target acquisition or its confirmation image, of any instrument."""
    return str(exposure_type).endswith(("TACQ", "TACONFIRM"))


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """One exposure: a file with its headers, or an entry of the archive.

    Attributes
    ----------
    root : str
        File name without the product suffix; the same for all products of one exposure. For an entry of the archive,
        its name of the exposure, e.g. ``jw01386008001_04101_00001``.
    path : Path
        Absolute path of the file; the empty path for an entry of the archive.
    stage : "uncal", "rateints" or "calints"
        Kind of product, determined from the array and the unit, not from the file name.
    instrument, exposure_type, filter, mask, subarray, pupil : str
        INSTRUME, EXP_TYPE, FILTER, CORONMSK, SUBARRAY, PUPIL; empty where absent.
    target : str
        The proposer's name of the target (TARGPROP).
    program, observation, visit_group : str
        As in the header, with leading zeros.
    is_psf, is_background : bool
        IS_PSF and BKGDTARG; a target or dither pattern named BACKGROUND, -BKG or -SKY marks a background, too.
    roll : float or None
        ROLL_REF (else PA_V3), degrees; None where absent.
    n_integrations, n_groups : int
        NINTS and NGROUPS.
    integration_time : float
        EFFINTTM, s; 0 where absent.
    dither, n_dithers : int
        PATT_NUM and NUMDTHPT; 1 where absent.
    sky : (ra, dec) or None
        Target position, degrees.
    size : int
        File size, bytes; 0 where unknown.
    segment, n_segments : int
        Which of how many files of the exposure this is, from 1 (``-segNNN`` of the name, else EXSEGNUM; EXSEGTOT);
        0 and 1 for a whole exposure.
    integrations : (first, last)
        Numbers of the file's integrations in the exposure, from 1 (INTSTART, INTEND).
    background_keyword : str
        S_BKDSUB; empty where absent.
    time : float or None
        Start of the exposure, MJD (UTC); None where unknown.
    background_from_name : bool
        Only a short word at the end of the target's name (-BKG, -SKY) marks it as a background.
    given_role : str
        Role given by hand or by an association, one of `lyot.exposures.given_roles.ROLE_NAMES`; empty where the
        header decides.

    Examples
    --------
    >>> from lyot.exposures import Exposure
    >>> exposure = Exposure(root="jw01386008001_04101_00001", exposure_type="MIR_4QPM", filter="F1550C")
    >>> exposure.is_coronagraphic, exposure.is_acquisition
    (True, False)
    """

    root: str
    path: Path = Path()
    stage: Stage = "uncal"
    instrument: str = ""
    exposure_type: str = ""
    filter: str = ""
    mask: str = ""
    subarray: str = ""
    pupil: str = ""
    target: str = ""
    program: str = ""
    observation: str = ""
    visit_group: str = ""
    is_psf: bool = False
    is_background: bool = False
    roll: float | None = None
    n_integrations: int = 1
    n_groups: int = 1
    integration_time: float = 0.0
    dither: int = 1
    n_dithers: int = 1
    sky: tuple[float, float] | None = None
    size: int = 0
    segment: int = 0
    n_segments: int = 1
    integrations: tuple[int, int] = (1, 1)
    background_keyword: str = ""
    time: float | None = None
    background_from_name: bool = False
    given_role: str = ""

    @property
    def name(self) -> str:
        """`root` without the segment: the same for all files of one exposure."""
        return exposure_name(self.root)

    @property
    def visit(self) -> str:
        """Program, observation and visit, as at the beginning of the file names."""
        return self.root[:13]

    @property
    def background_done(self) -> bool:
        """The file says that its background was subtracted (S_BKDSUB = COMPLETE)."""
        return self.background_keyword == "COMPLETE"

    @property
    def is_acquisition(self) -> bool:
        """Target acquisition or its confirmation image."""
        return is_acquisition_type(self.exposure_type)

    @property
    def is_coronagraphic(self) -> bool:
        """Taken through a coronagraph."""
        return is_coronagraphic_type(self.exposure_type)

    @property
    def configuration(self) -> tuple[str, str, str]:
        """(filter, mask, subarray): exposures can be combined only within one configuration."""
        return self.filter, self.mask, self.subarray
