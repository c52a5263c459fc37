"""From the files of a finished stage 3 to the reduction as a callable, for injections and forward models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyot.errors import InputError
from lyot.instrument import Coronagraph
from lyot.measure.disks import Detector
from lyot.measure.injection import Injector
from lyot.reduction.injector import Imager, combined_throughput, injector_of, narrowed, off_axis_source, source_imager
from lyot.steps.coronagraphs import measured_coronagraph
from lyot.steps.extra_fits import add_table, read_table
from lyot.steps.models import DataModel
from lyot.steps.segments import open_exposures
from lyot.steps.sequence_io import STAR_TABLE, forget_variances, known_input, open_exposure
from lyot.steps.stage3_plan import choice_params, plan_exposures, reduction_params


@dataclass(frozen=True)
class MeasuredSequence:
    """A reduced sequence, ready to be measured.

    Attributes
    ----------
    injector : Injector
        Fluxes in Jy before the mask, images in MJy/sr.
    coronagraph : Coronagraph
    imager : Imager
        Images of off-axis sources behind the mask.
    fwhm : float
        lambda/D, pixels of the combined image.
    throughput : (Ny, Nx) float64 ndarray or None
        Light that the mask leaves, on the combined image.
    sky : (ra, dec)
        Position of the star, degrees.
    modes : int
        Truncation that is measured.
    detector : Detector
        How the frames of the injector lie on the sky.
    """

    injector: Injector
    coronagraph: Coronagraph
    imager: Imager
    fwhm: float
    throughput: NDArray[np.float64] | None
    sky: tuple[float, float]
    modes: int
    detector: Detector


def cannot_repeat(science: Sequence[str | Path], parameters: Mapping[str, Any]) -> str:
    """Why a finished stage 3 cannot be repeated for measurements, as a sentence; empty if it can.

    Parameters
    ----------
    science : sequence of path
        Calibrated science exposures.
    parameters : mapping
        Parameters of the klip step as they were used.
    """
    if parameters.get("mode", "lyot") != "lyot":
        return OFFICIAL
    with open_exposure(str(science[0])) as model:
        try:
            measured_coronagraph(model)
        except InputError as error:
            return str(error)
    return ""


OFFICIAL = (
    "the star was subtracted by the official algorithm; measurements require that of Lyot; rerun lyot run with "
    "stage3.mode = lyot."
)


def open_reduction(
    science: Sequence[str | Path],
    references: str | Path | None,
    parameters: Mapping[str, Any],
    *,
    modes: int | None = None,
    subtracted: Sequence[Path] = (),
) -> MeasuredSequence:
    """Repeat the plan of a finished stage 3.

    Parameters
    ----------
    science : sequence of path
        Calibrated science exposures, in the order of the association.
    references : path or None
        Registered references (``psfalign``); None for strategies without.
    parameters : mapping
        Parameters of the klip step as they were used.
    modes : int, optional
        Truncation to measure; that of the main product by default.
    subtracted : sequence of Path, optional
        The star-subtracted exposures, from which the star's position is taken where there are no references.

    Returns
    -------
    MeasuredSequence
        With the injector that measurements need.

    Raises
    ------
    InputError
        If there is no model of the coronagraph, or the reduction was the official algorithm.
    """
    if parameters.get("mode", "lyot") != "lyot":
        raise InputError(OFFICIAL)
    targets = open_exposures([str(s) for s in science])
    known = measured_coronagraph(targets[0])
    forget_variances(targets)
    stack = None if references is None else open_exposure(str(references))
    if stack is None:
        _take_star(targets, subtracted)
    with known_input():
        planned = plan_exposures(
            targets,
            stack,
            reduction_params(parameters),
            choice_params(parameters),
            use_throughput=bool(parameters.get("use_throughput", True)),
        )
    plan, sequence = planned.plan, planned.plan.sequence
    area = targets[0].meta.photometry.pixelarea_steradians or known.pixel_area
    imager = source_imager(known, module=str(targets[0].meta.instrument.module or "A"))
    psf = off_axis_source(sequence, imager, float(area))
    injector = injector_of(narrowed(plan, modes), psf, modes=modes)
    result_throughput = combined_throughput(plan)
    return MeasuredSequence(
        injector=injector,
        coronagraph=known,
        imager=imager,
        fwhm=known.lambda_over_d / injector.pixel_scale,
        throughput=result_throughput,
        sky=planned.inputs.geometries[0].sky,
        modes=plan.recommended if modes is None else modes,
        detector=Detector(sequence.star, sequence.pa_y, sequence.pixel_scale),
    )


def _take_star(targets: Sequence[DataModel], subtracted: Sequence[Path]) -> None:
    """Give the science exposures the star's position that their star-subtracted products name."""
    if len(targets) != len(subtracted):
        return
    for target, path in zip(targets, subtracted, strict=True):
        table = read_table(open_exposure(str(path)), STAR_TABLE)
        if table is not None:
            add_table(target, STAR_TABLE, table)
