"""``lyot run`` and ``lyot config``: the whole reduction, and the template of its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyot.cli.measure_options import (
    DISTANCE,
    STAR_ERROR,
    STAR_FLUX,
    STAR_MAG,
    STAR_SED,
    STAR_TA,
    STAR_TA_UNIT,
    star_values,
)

if TYPE_CHECKING:
    from lyot.run.config import Config
    from lyot.run.execute import RunResult


def reduce_and_report(inputs: list[Path], out: Path, config: Config, *, overwrite: bool = False) -> RunResult:
    """Run the reduction with its progress shown, then write the report; prints what was found and where."""
    from lyot.cli.progress import progress_display
    from lyot.run.execute import run as run_pipeline

    with progress_display() as listener:
        result = run_pipeline(inputs, out, config, overwrite=overwrite, on_event=listener)
    if result.done:
        typer.echo(f"{result.done} tasks done, {result.current} up to date; products in {result.out}")
    else:
        typer.echo(f"everything is up to date; products in {result.out}")
    _show_detections(result)
    _write_report(result)
    return result


def _show_detections(result: RunResult) -> None:
    from lyot.run.measuring import read_detections

    for path in result.products("measure", "detections.ecsv"):
        table = read_detections(path, all_peaks=True)
        rows = [row for row in table if row["status"] == "source"]
        if not rows:
            typer.echo("no source above the threshold")
        for row in rows:
            typer.echo(
                f'source at separation {row["separation"]:.3f}", PA {row["position_angle"]:.2f} deg, '
                f"S/N {row['snr']:.1f}, {row['significance']:.1f} sigma, "
                f"false-alarm probability {row['false_alarm']:.1e} ({row['kl_modes']} KL modes)"
            )
        for row in table:
            if row["status"] != "source":
                typer.echo(
                    f'no source: separation {row["separation"]:.3f}", PA {row["position_angle"]:.2f} deg, '
                    f"S/N {row['snr']:.1f}: {row['reason']} ({row['status']})"
                )


def _write_report(result: RunResult) -> None:
    """Write the report if anything is new or it is not there."""
    from lyot import report

    page = result.out / "report" / "index.html"
    if result.done or not page.is_file():
        page = report.write_report(result.out)
    typer.echo(f"report: {page}")


def run(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Exposure files, folders or associations, at any stage; or programs to fetch from MAST."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the products.")],
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file (TOML).")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="One parameter, e.g. stage1.jump.rejection_threshold=5; may be repeated."),
    ] = None,
    stages: Annotated[str | None, typer.Option(help="Stages to run, e.g. 1-3, 2-3, 3.")] = None,
    filter_name: Annotated[str | None, typer.Option("--filter", help="Filter, if the input has several.")] = None,
    target: Annotated[str | None, typer.Option(help="Science target, if the input has several.")] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=0, help="Worker processes; 0: by the machine.")
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Dask scheduler to use, e.g. tcp://host:8786.")] = None,
    crds: Annotated[Path | None, typer.Option(help="Calibration cache to use.")] = None,
    context: Annotated[str | None, typer.Option(help="Calibration context (.pmap) to use.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do everything again, whatever is there.")] = False,
    contrast: Annotated[
        bool | None, typer.Option("--contrast/--no-contrast", help="Measure the detection limits as well.")
    ] = None,
    companion: Annotated[
        list[str] | None,
        typer.Option(help="Fit a companion near SEPARATION,PA (arcsec, degrees), or DETECTED ones; may be repeated."),
    ] = None,
    maps: Annotated[
        bool | None, typer.Option("--maps/--no-maps", help="Matched-filter, STIM and limit maps as well.")
    ] = None,
    star_flux: Annotated[float | None, STAR_FLUX] = None,
    star_mag: Annotated[float | None, STAR_MAG] = None,
    star_sed: Annotated[Path | None, STAR_SED] = None,
    star_ta: Annotated[Path | None, STAR_TA] = None,
    star_ta_jy: Annotated[float | None, STAR_TA_UNIT] = None,
    star_error: Annotated[float | None, STAR_ERROR] = None,
    distance: Annotated[float | None, DISTANCE] = None,
) -> None:
    """Reduce exposures to the star-subtracted image, measure what is beside the star, and write a report.

    Run again, it does only what is not done or whose inputs, parameters or versions changed.
    """
    from lyot.archive.records import is_program
    from lyot.run.config import load_config

    programs = [str(p) for p in inputs if not p.exists() and is_program(str(p))]
    if programs:
        from lyot.cli.download import fetch_programs, prepare_references

        fetched = fetch_programs(programs, out, filter_name=filter_name, target=target, stages=stages)
        crds, context = prepare_references(fetched, crds, context)
        inputs = [p for p in inputs if str(p) not in programs]
        target = target if inputs else None  # only this target's was fetched, under the proposer's name for it
        inputs += fetched

    options = {
        "stages": stages, "filter": filter_name, "target": target, "jobs": jobs, "scheduler": scheduler,
        "crds_path": str(crds) if crds else None, "crds_context": context,
    }  # fmt: skip
    star = star_values(flux=star_flux, magnitude=star_mag, sed=star_sed, acquisition=star_ta, jy_per_unit=star_ta_jy,
                       error=star_error, distance=distance)  # fmt: skip
    sections = {
        "star": star,
        "contrast": {} if contrast is None else {"measure": contrast},
        **companion_section(companion),
    }
    configuration = load_config(config, settings or (), sections=sections, **options)
    reduce_and_report(inputs, out, configuration, overwrite=overwrite)


def _switch(wanted: bool | None) -> dict[str, bool]:
    return {} if wanted is None else {"measure": wanted}


def companion_section(given: list[str] | None) -> dict[str, dict[str, object]]:
    """The section ``[companion]`` from the options."""
    from lyot.errors import ConfigError

    if not given:
        return {}
    detected = [text for text in given if text.upper() == "DETECTED"]
    if detected and len(given) > 1:
        raise ConfigError("--companion: give positions or DETECTED, not both.")
    return {"companion": {"measure": True} if detected else {"positions": given}}


def config(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; by default the terminal.")] = None,
) -> None:
    """Print a configuration file with every parameter of every step, its default and its meaning."""
    from lyot.errors import OutputError
    from lyot.run.config import template
    from lyot.run.manifest import write_text

    if out is None:
        typer.echo(template(), nl=False)
        return
    if out.exists():
        raise OutputError(f"{out}: exists already; choose another --out.")
    write_text(out, template())


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    app.command("config")(config)
