"""``lyot detect``: search a finished run for sources again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.options import TARGET, Group, Sections, options, refresh_report, show_target
from lyot.cli.results import show_detections


@options(
    Group("measure", "lyot.measure.detection:DetectionParams",
          aliases={"outer_radius": ("--outer",), "inner_radius": ("--inner",)}),
    Group("maps", "lyot.analysis.parameters:MapsSection", prefix="map-", leave_out=("measure",),
          aliases={"completeness_flux": ("--completeness",), "modes": ("--modes!",)}),
)  # fmt: skip
def detect(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    sections: Sections,
    target: Annotated[str | None, TARGET] = None,
    all_truncations: Annotated[
        bool,
        typer.Option(
            "--all-truncations", help="Search the images of all numbers of KL modes and merge the detections."
        ),
    ] = False,
    maps: Annotated[
        bool,
        typer.Option(
            "--maps", help="Also compute matched-filter, STIM and detection-limit maps (tens of seconds longer)."
        ),
    ] = False,
) -> None:
    """Search the star-subtracted image for point sources.

    Each detected source is subtracted with its forward model before the search for the next one. Writes
    measure/detections.ecsv and measure/snr_map.fits; with --maps also measure/matched_filter.fits and
    measure/stim_map.fits.
    """
    from lyot.analysis.finished_run import open_run
    from lyot.analysis.measurements import measure_detections
    from lyot.run.config import config_of_run

    config = config_of_run(out, sections)
    run = open_run(out, target=target, modes=config.maps.modes)
    show_target(run)
    measure_detections(run, config.measure, all_truncations=all_truncations)
    show_detections(run.tables)
    if maps or config.maps.completeness_flux is not None:
        from lyot.analysis.maps import measure_maps
        from lyot.exposures.names import MATCHED_FILTER

        measure_maps(run, config.maps, sigma=config.maps.sigma, completeness_flux=config.maps.completeness_flux)
        typer.echo(f"{run.tables / MATCHED_FILTER}")
    refresh_report(out)


COMMANDS = {"detect": detect}
