"""Unit and meaning of every column of the tables of the measurements; the reference documentation shows the same."""

from __future__ import annotations

from astropy.table import Table

from lyot.exposures.names import COMPANIONS, CONTRAST, DETECTIONS, DISK, DISK_RING, ERROR_BUDGET, PROPER_MOTION

APERTURE = "MJy pix / sr"
"""Unit of the sum of an aperture."""

_ERROR = "total error, statistical and systematic"

COLUMNS: dict[str, dict[str, tuple[str, str]]] = {
    DETECTIONS: {
        "separation": ("arcsec", "distance from the star"),
        "position_angle": ("deg", "position angle, east of north"),
        "snr": ("", "flux in an aperture of one lambda/D divided by the scatter of the other apertures at this "
                    "separation, with small-sample statistics"),
        "significance": ("", "Gaussian sigmas, with the noise from neighboring rings and the residuals of the "
                             "references"),
        "ring_significance": ("", "Gaussian sigmas of snr, from the apertures of the ring alone"),
        "x": ("pix", "column in the combined image, 0-based"),
        "y": ("pix", "row in the combined image, 0-based"),
        "ra": ("deg", "right ascension (ICRS)"),
        "dec": ("deg", "declination (ICRS)"),
        "signal": (APERTURE, "aperture sum minus the mean of the other apertures of the ring"),
        "noise": (APERTURE, "noise of the signal"),
        "kl_modes": ("", "number of KL modes of the image in which the peak is most significant; -1: unknown"),
        "images": ("", "number of searched truncations in which it is found"),
        "false_alarm": ("", "probability of such a peak by chance anywhere in the searched area, for Gaussian noise"),
        "status": ("", "classification: source, candidate (may be noise), rejected (not a point source) or extended "
                       "(part of extended emission)"),
        "reason": ("", "why it is not a source, or what could not be checked of a source"),
        "shape": ("", "deviation from the image of a point source, sigmas"),
        "roll_difference": ("", "difference between the fluxes in single rolls, Gaussian sigmas"),
        "rolls": ("", "number of rolls compared"),
    },
    CONTRAST: {
        "separation": ("arcsec", "distance from the star"),
        "separation_lod": ("", "distance from the star in lambda/D"),
        "separation_au": ("AU", "projected separation; with --distance"),
        "contrast_raw": ("", "sigma x noise divided by the stellar flux, without throughput losses and small-sample "
                             "correction"),
        "contrast_5sigma": ("", "contrast limit, from injected sources, with small-sample statistics; 50 % "
                                "completeness over all position angles"),
        "contrast_5sigma_low": ("", "contrast of 16 % completeness over all position angles"),
        "contrast_5sigma_high": ("", "contrast of 84 % completeness over all position angles"),
        "delta_mag": ("mag", "magnitude difference of contrast_5sigma"),
        "flux_5sigma": ("Jy", "flux limit, before the mask"),
        "flux_5sigma_low": ("Jy", "flux of 16 % completeness over all position angles, before the mask"),
        "flux_5sigma_high": ("Jy", "flux of 84 % completeness over all position angles, before the mask"),
        "magnitude_5sigma": ("mag", "limit as Vega magnitude in the filter"),
        "throughput": ("", "fraction of the flux of a source that mask and reduction leave in the aperture, median "
                           "over the position angles"),
        "noise": (APERTURE, "noise of an aperture of one lambda/D, median over the ring"),
        "elements": ("", "number of resolution elements from which the noise is measured"),
        "threshold": ("", "S/N with the false-alarm probability of sigma (5) Gaussian sigmas for this number of "
                          "elements"),
        "mass_5sigma": ("jupiterMass", "mass of a planet with the flux of the limit; with --masses"),
        "mass_5sigma_low": ("jupiterMass", "mass of the limit at the age minus its error"),
        "mass_5sigma_high": ("jupiterMass", "mass of the limit at the age plus its error"),
    },
    COMPANIONS: {
        "separation": ("arcsec", "distance from the star"),
        "separation_err": ("arcsec", f"{_ERROR}, of the separation"),
        "position_angle": ("deg", "position angle, east of north"),
        "position_angle_err": ("deg", f"{_ERROR}, of the position angle"),
        "contrast": ("", "flux divided by that of the star in the filter; NaN if the latter is unknown"),
        "contrast_err": ("", f"{_ERROR}, of the contrast, including that of the star's flux"),
        "flux": ("Jy", "flux before the mask"),
        "flux_err": ("Jy", f"{_ERROR}, of the flux; its parts are in the error budget"),
        "snr": ("", "flux divided by its statistical error"),
        "significance": ("", "Gaussian sigmas of snr, with small-sample statistics"),
        "magnitude": ("mag", "Vega magnitude in the filter"),
        "magnitude_err": ("mag", f"{_ERROR}, of the magnitude"),
        "flux_err_stat": ("Jy", "statistical error of the flux"),
        "separation_err_stat": ("arcsec", "statistical error of the separation"),
        "position_angle_err_stat": ("deg", "statistical error of the position angle"),
        "flux_upper_limit": ("Jy", "95 % upper limit of the flux; NaN if snr is at least limit_snr (5)"),
        "delta_ra": ("arcsec", "offset from the star on the sky, east positive"),
        "delta_dec": ("arcsec", "offset from the star on the sky, north positive"),
        "ra": ("deg", "right ascension (ICRS), from the star's coordinates in the headers"),
        "dec": ("deg", "declination (ICRS), from the star's coordinates in the headers"),
        "flux_posterior_low": ("Jy", "16th percentile of the sampled posterior; NaN with --no-posterior"),
        "flux_posterior_high": ("Jy", "84th percentile of the sampled posterior; NaN with --no-posterior"),
        "noise_scale": ("", "factor applied to the errors predicted from the correlation of the residuals, from the "
                            "scatter of the same template at other position angles"),
        "reduced_chi2": ("", "reduced chi2 of the residuals in the fitted region, for the predicted noise"),
        "ambiguous": ("", "True if another position fits nearly as well (for instance near a mask boundary); the "
                          "errors cover both"),
        "mass": ("jupiterMass", "mass from the evolutionary models, for the exact distance; with --masses"),
        "mass_err": ("jupiterMass", "error of the mass, from the total error of the flux and the error of the age"),
        "mass_err_flux": ("jupiterMass", "part of the error of the mass that comes from the total error of the flux"),
        "mass_err_age": ("jupiterMass", "part of the error of the mass that comes from the error of the age"),
    },
    ERROR_BUDGET: {
        "companion": ("", "number of the companion in companions.ecsv, from 1"),
        "term": ("", "source of the error: statistical, flux calibration, throughput model, image shape, star center, "
                     "star flux, plate scale, north; last the total"),
        "flux": ("", "relative error of the flux, one sigma"),
        "contrast": ("", "relative error of the contrast, one sigma"),
        "separation": ("arcsec", "error of the separation, one sigma"),
        "position_angle": ("deg", "error of the position angle, one sigma"),
    },
    PROPER_MOTION: {
        "companion": ("", "number of the companion in companions.ecsv, from 1"),
        "year": ("yr", "date, Julian year"),
        "separation": ("arcsec", "measured distance from the star"),
        "separation_err": ("arcsec", "error of the measured separation"),
        "position_angle": ("deg", "measured position angle, east of north"),
        "position_angle_err": ("deg", "error of the measured position angle"),
        "background_separation": ("arcsec", "separation expected for a stationary background object, best fit"),
        "background_position_angle": ("deg", "position angle expected for a stationary background object, best fit"),
        "common_separation": ("arcsec", "separation expected for an object that moves with the star, best fit"),
        "common_position_angle": ("deg", "position angle expected for an object that moves with the star, best fit"),
    },
    DISK: {
        "model": ("", "file of the model image; ring: the parametric ring"),
        "best": ("", "True for the model with the lowest Bayesian information criterion"),
        "scale": ("", "factor by which the flux of the model is multiplied in the fit"),
        "scale_err": ("", "statistical error of the scale, including correlated residuals"),
        "flux": ("Jy", "total flux of the scaled model, before the mask"),
        "flux_err": ("Jy", "statistical error of the flux, including correlated residuals"),
        "snr": ("", "scale divided by its error"),
        "chi2": ("", "chi2 over all fitted pixels; pixels and noise are the same for all models"),
        "reduced_chi2": ("", "chi2 per degree of freedom"),
        "delta_bic": ("", "Bayesian information criterion relative to the best model, for independent pixels"),
        "background": ("MJy / sr", "constant fitted with the model"),
        "pixels": ("", "number of fitted pixels"),
        "correlation": ("", "variance of the scale divided by that for independent pixels"),
    },
    DISK_RING: {
        "parameter": ("", "name of the parameter"),
        "value": ("", "its value, as text"),
        "error": ("", "its error (one sigma), including correlated residuals; NaN if not fitted"),
        "unit": ("", "unit of value and error"),
        "status": ("", "whether it was fitted, fixed, or ended at its limit"),
        "meaning": ("", "what the parameter is"),
    },
}  # fmt: skip
"""Of each file, of each column: unit (empty: dimensionless, or text) and meaning."""


def describe(table: Table, file: str) -> None:
    """Give every column of a table its description.

    Parameters
    ----------
    table : Table
        Changed in place.
    file : str
        Name of the file in which it is written, a key of `COLUMNS`.

    Raises
    ------
    KeyError
        If a column is not in `COLUMNS`.
    """
    for name in table.colnames:
        table[name].description = COLUMNS[file][name][1]
