"""``lyot detect``: search a finished run for sources again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lyot.cli.measure_options import MODES, refresh_report


def detect(
    out: Annotated[Path, typer.Argument(help="Output folder of lyot run.")],
    threshold: Annotated[float, typer.Option(help="Least S/N (few-sample corrected).", min=0.0)] = 5.0,
    min_significance: Annotated[float, typer.Option(help="Least significance, Gaussian sigmas.", min=0.0)] = 3.0,
    inner: Annotated[float | None, typer.Option(help="Search outside this separation, arcsec.")] = None,
    outer: Annotated[float | None, typer.Option(help="Search inside this separation, arcsec.")] = None,
    edge: Annotated[
        float, typer.Option(help="Search this far inside the edges of the data of every roll, lambda/D.", min=0.0)
    ] = 3.0,
    all_truncations: Annotated[
        bool, typer.Option("--all-truncations", help="Search the images of all truncations and merge.")
    ] = False,
    maps: Annotated[
        bool, typer.Option("--maps", help="Matched-filter, STIM and limit maps (some tens of seconds more).")
    ] = False,
    completeness: Annotated[
        float | None, typer.Option(help="With --maps: flux [Jy] whose probability of detection is mapped.", min=0.0)
    ] = None,
    modes: Annotated[int | None, MODES] = None,
) -> None:
    """Search the star-subtracted image for point sources.

    Sources found are taken out with their forward models before the next is looked for. Writes measure/detections.ecsv
    and measure/snr_map.fits; with --maps also measure/matched_filter.fits and measure/stim_map.fits.
    """
    from lyot.measure.detection import DetectionParams
    from lyot.run.measurements import measure_detections, open_run

    run = open_run(out, modes=modes)
    params = DetectionParams(
        threshold=threshold, min_significance=min_significance, inner_radius=inner, outer_radius=outer, edge=edge
    )
    found = measure_detections(run, params, all_truncations=all_truncations)
    if not any(d.accepted for d in found):
        typer.echo("no source above the threshold")
    for d in found:
        if not d.accepted:
            typer.echo(
                f'no source: separation {d.separation:.3f}", PA {d.position_angle:.2f} deg, S/N {d.snr:.1f}: '
                f"{d.reason} ({d.status})"
            )
            continue
        typer.echo(
            f'separation {d.separation:.3f}", PA {d.position_angle:.2f} deg, S/N {d.snr:.1f} '
            f"({d.significance:.1f} sigma), false-alarm probability {d.false_alarm:.1e}, {d.truncation} KL modes"
        )
    if maps or completeness is not None:
        from lyot.measure.matched_filter import MatchedFilterParams
        from lyot.run.maps import MATCHED_FILTER, measure_maps

        region = MatchedFilterParams() if outer is None else MatchedFilterParams(outer_radius=outer)
        measure_maps(run, region, completeness_flux=completeness)
        typer.echo(f"{run.folder / MATCHED_FILTER}")
    refresh_report(out)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("detect")(detect)
