"""Keywords of a simulated level-1b file, group by group as in the archive's."""

from __future__ import annotations

from typing import Any, Final

from astropy.io import fits
from astropy.time import Time

from lyot.instrument import V3_IDEAL_Y_ANGLE
from lyot.simulator.plan import BACKGROUND_DISTANCE, PROGRAM, Exposure
from lyot.simulator.pointing import Attitude, attitude, footprint, offset_position, pc_matrix, shifted_pointing
from lyot.simulator.scene import Scene
from lyot.version import __version__

Card = tuple[str, Any, str]

_BARYCENTRIC_DELAY: Final = 250.0  # s, typical of the season
_EPHEMERIS: Final[tuple[Card, ...]] = (
    ("REFFRAME", "EME2000", "Ephemeris reference frame (EME2000)"),
    ("EPH_TYPE", "Definitive", "Definitive or Predicted"),
    ("JWST_X", 60.1e6, "[km] barycentric JWST X coordinate at MJD-AVG"),
    ("JWST_Y", -129.6e6, "[km] barycentric JWST Y coordinate at MJD-AVG"),
    ("JWST_Z", -56.1e6, "[km] barycentric JWST Z coordinate at MJD-AVG"),
    ("JWST_DX", 26.9, "[km/s] barycentric JWST X velocity at MJD-AVG"),
    ("JWST_DY", 10.8, "[km/s] barycentric JWST Y velocity at MJD-AVG"),
    ("JWST_DZ", 4.7, "[km/s] barycentric JWST Z velocity at MJD-AVG"),
)


def target_position(exposure: Exposure, scene: Scene) -> tuple[str, float, float]:
    """Name, right ascension and declination (degrees) of what the exposure points at."""
    star = scene.reference if exposure.is_reference else scene.star
    if not exposure.is_background:
        return star.name, star.ra, star.dec
    ra, dec = offset_position(star.ra, star.dec, BACKGROUND_DISTANCE, 0.0)
    return f"{star.name}-BACKGROUND", ra, dec


def exposure_attitude(exposure: Exposure, scene: Scene) -> Attitude:
    """Attitude as the keywords tell it: the dither is in it, the pointing error and the commanded offset are not."""
    _, ra, dec = target_position(exposure, scene)
    offset = exposure.offset_keyword if exposure.is_background else exposure.dither
    c = exposure.coronagraph
    ra_ref, dec_ref = shifted_pointing(ra, dec, offset, exposure.roll)
    return attitude(ra_ref, dec_ref, exposure.roll, v2_ref=c.v2_ref, v3_ref=c.v3_ref)


def _observation(e: Exposure, start: Time) -> list[Card]:
    iso = start.isot
    end = Time(e.start + e.duration / 86400.0, format="mjd").isot
    observation = f"{e.observation:03d}"
    return [
        ("TITLE", "Simulated high-contrast imaging of exoplanets", "Proposal title"),
        ("PI_NAME", "Simulated", "Principal investigator name"),
        ("CATEGORY", "ERS", "Program category"),
        ("SCICAT", "Exoplanets and Exoplanet Formation", "Science category"),
        ("DATE-OBS", iso[:10], "[yyyy-mm-dd] UTC date at start of exposure"),
        ("TIME-OBS", iso[11:], "[hh:mm:ss.sss] UTC time at start of exposure"),
        ("DATE-BEG", iso, "Date-time start of exposure"),
        ("DATE-END", end, "Date-time end of exposure"),
        ("OBS_ID", f"V{PROGRAM}{observation}001P00000000{e.activity:02d}101", "Programmatic observation identifier"),
        ("VISIT_ID", f"{PROGRAM}{observation}001", "Visit identifier"),
        ("PROGRAM", PROGRAM, "Program number"),
        ("OBSERVTN", observation, "Observation number"),
        ("VISIT", "001", "Visit number"),
        ("VISITGRP", f"{e.activity:02d}", "Visit group identifier"),
        ("SEQ_ID", "1", "Parallel sequence identifier"),
        ("ACT_ID", "01", "Activity identifier"),
        ("EXPOSURE", f"{e.number}", "Exposure request number"),
        ("BKGDTARG", e.is_background, "Background target"),
        ("TEMPLATE", "MIRI Coronagraphic Imaging", "Observation template used"),
        ("OBSLABEL", f"{e.role} {e.coronagraph.filter}", "Proposer label for the observation"),
        ("ENG_QUAL", "OK", "Engineering data quality indicator from EngDB"),
        ("ENGQLPTG", "CALCULATED_TRACK_TR_202111", "Quality of pointing information"),
        ("VISITYPE", "PRIME_TARGETED_FIXED", "Visit type"),
        ("VSTSTART", iso.replace("T", " "), "UTC visit start time"),
        ("VISITSTA", "SUCCESSFUL", "Status of a visit"),
        ("NEXPOSUR", e.dither_count, "Total number of planned exposures in visit"),
        ("INTARGET", False, "At least one exposure in visit is internal"),
        ("TARGOOPP", False, "Visit scheduled as target of opportunity"),
        ("TSOVISIT", False, "Time Series Observation visit indicator"),
        ("EXP_ONLY", False, "Special commanding without SI configuration"),
        ("CROWDFLD", False, "Are the FGSes in a crowded field?"),
    ]


def _target(e: Exposure, scene: Scene) -> list[Card]:
    name, ra, dec = target_position(e, scene)
    return [
        ("TARGPROP", name.upper(), "Proposer's target name"),
        ("TARGNAME", name.replace("-", " ", 1), "Catalog name of target"),
        ("TARGTYPE", "FIXED", "Type of target (fixed, moving, generic)"),
        ("TARGCAT", "Calibration" if e.is_background else "Star", "Target category from APT"),
        ("TARG_RA", ra, "[deg] Target RA at mid time of exposure"),
        ("TARG_DEC", dec, "[deg] Target Dec at mid time of exposure"),
        ("TARGURA", 0.1, "[arcsec] Target RA uncertainty"),
        ("TARGUDEC", 0.1, "[arcsec] Target Dec uncertainty"),
        ("MU_RA", 0.0, "[arcsec/yr] Target proper motion in RA"),
        ("MU_DEC", 0.0, "[arcsec/yr] Target proper motion in Dec"),
        ("MU_EPOCH", "2000-01-01 00:00:00.0000000", "Target proper motion epoch in UT"),
        ("PROP_RA", ra, "[deg] Proposer's target RA"),
        ("PROP_DEC", dec, "[deg] Proposer's target Dec"),
    ]


def _instrument(e: Exposure) -> list[Card]:
    c = e.coronagraph
    return [
        ("INSTRUME", "MIRI", "Instrument used to acquire the data"),
        ("DETECTOR", "MIRIMAGE", "Name of detector used to acquire the data"),
        ("FILTER", c.filter, "Name of the filter element used"),
        ("FPE_SIDE", "A", "Active side for FPE (A or B)"),
        ("ICE_SIDE", "A", "Active side for ICE (A or B)"),
        ("CCCSTATE", "OPEN", "Contamination control cover state"),
        ("CORONMSK", c.mask, "coronagraph mask used"),
        ("LAMP", "OFF", "Internal lamp state"),
        ("OPMODE", "NONE", "Lamp operating mode"),
    ]


def _exposure(e: Exposure) -> list[Card]:
    frame = e.coronagraph.frame_time
    middle, end = e.start + 0.5 * e.duration / 86400.0, e.start + e.duration / 86400.0
    return [
        ("EXPCOUNT", e.dither_number, "Running count of exposures in visit"),
        ("EXPRIPAR", "PRIME", "Prime or parallel exposure"),
        ("EXP_TYPE", e.coronagraph.exposure_type, "Type of data in the exposure"),
        ("EXPSTART", e.start, "[d] exposure start time in MJD"),
        ("EXPMID", middle, "[d] exposure mid time in MJD"),
        ("EXPEND", end, "[d] exposure end time in MJD"),
        ("READPATT", "FASTR1", "Readout pattern"),
        ("NOUTPUTS", 4, "Number of detector outputs used"),
        ("NINTS", e.nints, "Number of integrations in exposure"),
        ("NGROUPS", e.ngroups, "Number of groups in integration"),
        ("NFRAMES", 1, "Number of frames per group"),
        ("FRMDIVSR", 1, "Divisor applied to frame-averaged groups"),
        ("GROUPGAP", 0, "Number of frames dropped between groups"),
        ("DRPFRMS1", 0, "Frames dropped before first integration"),
        ("DRPFRMS3", 0, "Frames dropped between integrations"),
        ("NSAMPLES", 1, "Number of A/D samples per pixel"),
        ("TSAMPLE", 10.0, "[us] Time between samples"),
        ("TFRAME", frame, "[s] Time between frames"),
        ("TGROUP", frame, "[s] Time between groups"),
        ("EFFINTTM", e.ngroups * frame, "[s] Effective integration time"),
        ("EFFEXPTM", e.nints * e.ngroups * frame, "[s] Effective exposure time"),
        ("TMEASURE", e.nints * (e.ngroups - 1) * frame, "[s] Measurement time"),
        ("DURATION", e.duration, "[s] Total duration of exposure"),
        ("NRSTSTRT", 0, "Number of reset frames at start of exposure"),
        ("NRESETS", 1, "Number of reset frames between integrations"),
        ("ZEROFRAM", False, "Zero frame was downlinked separately"),
        ("DATAPROB", False, "Science telemetry indicated a problem"),
        ("SCA_NUM", 493, "Sensor Chip Assembly number"),
        ("DATAMODE", 7, "post-processing method used in FPAP"),
        ("SCTARATE", 0.0, "[ms/s] Spacecraft Clock Time Adjust RATE"),
        ("IS_PSF", e.role == "reference", "exposure is PSF reference"),
        ("SELFREF", False, "self-referencing PSF"),
    ]


def _subarray_and_dither(e: Exposure) -> list[Card]:
    c = e.coronagraph
    pattern = "NONE"
    if e.is_background:
        pattern = "BACKGROUND"
    elif e.dither_count == 9:
        pattern = "9-POINT-SMALL-GRID"
    return [
        ("SUBARRAY", c.subarray, "Subarray used"),
        ("SUBSTRT1", c.first_column, "Starting pixel in axis 1 direction"),
        ("SUBSTRT2", c.first_row, "Starting pixel in axis 2 direction"),
        ("SUBSIZE1", c.shape[1], "Number of pixels in axis 1 direction"),
        ("SUBSIZE2", c.shape[0], "Number of pixels in axis 2 direction"),
        ("FASTAXIS", 1, "Fast readout axis direction"),
        ("SLOWAXIS", 2, "Slow readout axis direction"),
        ("PATTTYPE", pattern, "Primary dither pattern type"),
        ("PATT_NUM", e.dither_number, "Position number within dither pattern"),
        ("NUMDTHPT", e.dither_count, "Total number of points in dither pattern"),
        ("XOFFSET", e.offset_keyword[0], "[arcsec] X offset in SI ideal coordinate frame"),
        ("YOFFSET", e.offset_keyword[1], "[arcsec] Y offset in SI ideal coordinate frame"),
        ("APERNAME", c.aperture, "PRD science aperture used"),
        ("PPS_APER", c.aperture, "original AperName supplied by PPS"),
    ]


def _time_and_guiding(e: Exposure, a: Attitude) -> list[Card]:
    delay = _BARYCENTRIC_DELAY / 86400.0
    begin, end = e.start + delay, e.start + e.duration / 86400.0 + delay
    guide_ra, guide_dec = offset_position(a.ra_v1, a.dec_v1, 700.0, a.pa_v3 + 15.0)
    return [
        ("VA_RA", a.ra_ref, "[deg] Velocity aberrated apparent reference RA"),
        ("VA_DEC", a.dec_ref, "[deg] Velocity aberrated apparent reference Dec"),
        ("BARTDELT", _BARYCENTRIC_DELAY, "[s] Barycentric correction at exposure start"),
        ("BSTRTIME", begin, "[d] Barycentric exposure start time in MJD"),
        ("BENDTIME", end, "[d] Barycentric exposure end time in MJD"),
        ("BMIDTIME", 0.5 * (begin + end), "[d] Barycentric exposure mid time in MJD"),
        ("HELIDELT", _BARYCENTRIC_DELAY, "[s] Heliocentric correction at exposure start"),
        ("HSTRTIME", begin, "[d] Heliocentric exposure start time in MJD"),
        ("HENDTIME", end, "[d] Heliocentric exposure end time in MJD"),
        ("HMIDTIME", 0.5 * (begin + end), "[d] Heliocentric exposure mid time in MJD"),
        ("GS_ORDER", 1, "index of guide star within list"),
        ("GSSTRTTM", Time(e.start - 0.01, format="mjd").iso, "UTC guide star activity start"),
        ("GSENDTIM", Time(e.start - 0.005, format="mjd").iso, "UTC guide star activity end"),
        ("GDSTARID", f"SIM{e.observation:07d}", "guide star identifier"),
        ("GS_RA", guide_ra, "[deg] guide star right ascension"),
        ("GS_DEC", guide_dec, "[deg] guide star declination"),
        ("GS_URA", 0.01, "[deg] guide star right ascension uncertainty"),
        ("GS_UDEC", 0.01, "[deg] guide star declination uncertainty"),
        ("GS_MAG", 13.0, "[mag] guide star magnitude in FGS detector"),
        ("GS_UMAG", 0.02, "[mag] guide star magnitude uncertainty"),
        ("GS_V3_PA", a.pa_v3, "[deg] V3 position angle of guide star"),
        ("PCS_MODE", "FINEGUIDE", "Pointing Control System mode"),
        ("VISITEND", Time(end - delay + 0.001, format="mjd").iso, "UTC time when the visit ended"),
    ]


def primary_header(e: Exposure, scene: Scene, *, seed: int) -> fits.Header:
    """Primary header of an exposure's level-1b file. Nothing in it comes from the clock."""
    start = Time(e.start, format="mjd")
    a = exposure_attitude(e, scene)
    header = fits.Header()
    header["SIMPLE"] = (True, "conforms to FITS standard")
    header["BITPIX"] = (8, "array data type")
    header["NAXIS"] = (0, "number of array dimensions")
    header["EXTEND"] = (True, "file may contain extensions")
    cards: list[Card] = [
        ("DATE", Time(e.start + 1.0, format="mjd").isot, "UTC date file created"),
        ("ORIGIN", "STSCI", "Organization responsible for creating file"),
        ("TIMESYS", "UTC", "principal time system for time-related keywords"),
        ("TIMEUNIT", "s", "Default unit applicable to all time values"),
        ("FILENAME", e.filename, "Name of the file"),
        ("SDP_VER", "2026_1b", "Data Processing (DP) Software Version"),
        ("PRD_VER", "PRDOPSSOC-075", "S&OC Project Reference Database (PRD) Version"),
        ("OSS_VER", "8.6", "Observatory Scheduling Software (OSS) Version"),
        ("GSC_VER", "GSC32", "Guide Star Catalog (GSC) Version"),
        ("DATAMODL", "Level1bModel", "Type of data model"),
        ("TELESCOP", "JWST", "Telescope used to acquire the data"),
        ("HGA_MOVE", False, "High Gain Antenna moved during data collection"),
        ("COMPRESS", False, "On-board data compression was used (T/F)"),
        ("SIMULATD", True, f"simulated by Lyot {__version__}"),
        ("SIMSEED", seed, "seed of the simulation"),
    ]
    cards += _observation(e, start) + _target(e, scene) + _instrument(e) + _exposure(e)
    cards += _subarray_and_dither(e) + _time_and_guiding(e, a)
    for keyword, value, comment in cards:
        header[keyword] = (value, comment)
    return header


def science_cards(e: Exposure, scene: Scene) -> list[Card]:
    """Keywords of the SCI extension: times, ephemeris, pointing, WCS."""
    c, a = e.coronagraph, exposure_attitude(e, scene)
    sx, sy = c.pixel_scale
    pc = pc_matrix(e.roll) * [[1.0, sy / sx], [sx / sy, 1.0]]  # CDELT scales the sky's axes, not the pixels'
    middle, end = e.start + 0.5 * e.duration / 86400.0, e.start + e.duration / 86400.0
    delay = _BARYCENTRIC_DELAY / 86400.0
    return [
        ("MJD-BEG", e.start, "[d] exposure start time in MJD"),
        ("MJD-AVG", middle, "[d] exposure mid-point in MJD"),
        ("MJD-END", end, "[d] exposure end time in MJD"),
        ("TDB-BEG", e.start + delay, "[d] TDB time of exposure start in MJD"),
        ("TDB-MID", middle + delay, "[d] TDB time of exposure mid-point in MJD"),
        ("TDB-END", end + delay, "[d] TDB time of exposure end in MJD"),
        ("XPOSURE", e.nints * e.ngroups * c.frame_time, "[s] Effective exposure time"),
        ("TELAPSE", e.duration, "[s] Total elapsed exposure time"),
        ("EPH_TIME", middle, "[d] MJD time of position and velocity vectors"),
        *_EPHEMERIS,
        ("PA_APER", (e.roll + V3_IDEAL_Y_ANGLE) % 360.0, "[deg] Position angle of aperture used"),
        ("VA_SCALE", 1.0, "Velocity aberration scale factor"),
        ("BUNIT", "DN", "physical units of the array values"),
        ("RADESYS", "ICRS", "Name of the coordinate reference frame"),
        ("RA_V1", a.ra_v1, "[deg] RA of telescope V1 axis"),
        ("DEC_V1", a.dec_v1, "[deg] Dec of telescope V1 axis"),
        ("PA_V3", a.pa_v3, "[deg] Position angle of telescope V3 axis"),
        ("WCSAXES", 2, "number of World Coordinate System axes"),
        ("CRPIX1", round(c.reference_point[0] + 1.0, 6), "[pixel] axis 1 coordinate of reference point"),
        ("CRPIX2", round(c.reference_point[1] + 1.0, 6), "[pixel] axis 2 coordinate of reference point"),
        ("CRVAL1", a.ra_ref, "[deg] RA at the reference point"),
        ("CRVAL2", a.dec_ref, "[deg] Dec at the reference point"),
        ("CTYPE1", "RA---TAN", "Axis 1 type"),
        ("CTYPE2", "DEC--TAN", "Axis 2 type"),
        ("CUNIT1", "deg", "Axis 1 units"),
        ("CUNIT2", "deg", "Axis 2 units"),
        ("CDELT1", c.pixel_scale[0] / 3600.0, "[deg/pixel] axis 1 increment at reference point"),
        ("CDELT2", c.pixel_scale[1] / 3600.0, "[deg/pixel] axis 2 increment at reference point"),
        ("PC1_1", float(pc[0, 0]), "linear transformation matrix element"),
        ("PC1_2", float(pc[0, 1]), "linear transformation matrix element"),
        ("PC2_1", float(pc[1, 0]), "linear transformation matrix element"),
        ("PC2_2", float(pc[1, 1]), "linear transformation matrix element"),
        ("S_REGION", footprint(c, a), "spatial extent of the observation, footprint"),
        ("V2_REF", c.v2_ref, "[arcsec] Telescope V2 coord of reference point"),
        ("V3_REF", c.v3_ref, "[arcsec] Telescope V3 coord of reference point"),
        ("VPARITY", -1, "Sense of rotation between Ideal xy and V2V3"),
        ("V3I_YANG", V3_IDEAL_Y_ANGLE, "[deg] Angle from V3 axis to Ideal y axis"),
        ("RA_REF", a.ra_ref, "[deg] Right Ascension of the reference point"),
        ("DEC_REF", a.dec_ref, "[deg] Declination of the reference point"),
        ("ROLL_REF", a.roll_ref, "[deg] V3 roll angle at the ref point (N over E)"),
        ("VELOSYS", 7000.0, "[m/s] Barycentric correction to radial velocity"),
    ]
