"""``lyot download``: what MAST has of a program or a target, shown with its roles, and fetched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lyot.archive import ArchiveFile, Downloaded, Query
    from lyot.archive.proposals import Proposal
    from lyot.exposures.roles import Assigned


def show(rows: Sequence[tuple[Assigned, ArchiveFile]], lacking: set[str], skipped: set[str]) -> None:
    """Print the table of files and their sum."""
    from rich.console import Console
    from rich.table import Table

    from lyot.written import plural, size_text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("role", "file", "target", "filter"):
        table.add_column(name, overflow="fold")
    for name in ("roll (deg)", "ints x groups", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("access", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for assigned, file in rows:
        e = assigned.exposure
        state = "not selected" if file.name in skipped else "to download" if file.name in lacking else "present"
        table.add_row(
            assigned.label, file.name, e.target, e.filter, "" if e.roll is None else f"{e.roll:.2f}",
            f"{e.n_integrations} x {e.n_groups}", size_text(file.size) if file.size else "unknown",
            "public" if file.public else "exclusive", state,
        )  # fmt: skip
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    console.print(table)
    wanted = [file for _, file in rows if file.name in lacking]
    typer.echo(f"{plural(len(wanted), 'file')} to download, {size_text(sum(f.size for f in wanted))}")


def _show_proposals(found: Sequence[Proposal], query: Query) -> None:
    for proposal in found:
        filters = " ".join(f"--filter {f}" for f in query.filters)
        typer.echo(f"- proposed as {proposal.kind}: {proposal}")
        typer.echo(
            f"  lyot download {int(proposal.program)} --observation {int(proposal.observation)} {filters}".rstrip()
            + (f" --level {query.level}" if query.level != "uncal" else "")
        )


@contextlib.contextmanager
def _bars(files: Sequence[ArchiveFile]) -> Iterator[Callable[[ArchiveFile, int], None] | None]:
    """A bar for all bytes and one for each file on its way; a line per file where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from lyot.written import size_text

    console = Console()
    if not console.is_terminal:
        finished: set[str] = set()

        def lines(file: ArchiveFile, done: int) -> None:
            if file.size and done == file.size and file.name not in finished:
                finished.add(file.name)
                typer.echo(f"{file.name}: {size_text(done)}")

        yield lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        overall = progress.add_task("all", total=sum(f.size for f in files) or None)
        tasks: dict[str, tuple[int, int]] = {}

        def show(file: ArchiveFile, done: int) -> None:
            task, before = tasks.get(file.name) or (progress.add_task(file.name, total=file.size or None), 0)
            tasks[file.name] = task, done
            progress.update(task, completed=done, visible=not file.size or done < file.size)  # type: ignore[arg-type]
            progress.advance(overall, done - before)

        yield show


def fetch(
    query: Query,
    out: Path,
    *,
    acquisitions: bool = False,
    dry_run: bool = False,
    jobs: int | None = None,
    one_sequence: bool = False,
) -> Downloaded | None:
    """Look for a query's files, show them, and fetch what is not there; None for a dry run.

    Parameters
    ----------
    query : Query
    out : Path
        Folder of the files.
    acquisitions : bool, optional
        Fetch the target acquisitions too.
    dry_run : bool, optional
        Only show.
    jobs : int, optional
        Files at the same time.
    one_sequence : bool, optional
        Fetch nothing, but raise `InputError`, if there are several filters or science targets.
    """
    from lyot.archive import MastClient, download, find, to_fetch
    from lyot.archive.download import AT_ONCE
    from lyot.archive.proposals import propose_missing
    from lyot.archive.roles import assign_roles, check_one_sequence
    from lyot.errors import LyotError
    from lyot.written import plural

    client = MastClient()
    listing = find(query, client)
    rows = assign_roles(listing, out)
    if one_sequence:
        check_one_sequence([assigned for assigned, _ in rows])
    files = [f for _, f in rows if acquisitions or not f.exposure.is_acquisition]
    lacking = to_fetch(files, out)
    show(rows, {f.name for f in lacking}, {f.name for _, f in rows} - {f.name for f in files})
    for exposure in listing.missing:
        typer.echo(f"- {exposure.root}: no {query.level} file in the archive")
    try:
        _show_proposals(propose_missing(rows, client), query)
    except LyotError as error:
        typer.echo(f"- no proposals: {error}", err=True)
    if dry_run:
        return None
    with _bars(lacking) as bars:
        result = download(files, out, connection=client.connection, at_once=jobs or AT_ONCE, on_progress=bars)
    there = len(result.current)
    typer.echo(f"{plural(len(result.fetched), 'file')} downloaded, {there} already present; all in {out}")
    return result


def fetch_programs(
    programs: Sequence[str], out: Path, *, filter_name: str | None, targets: Sequence[str], stages: str | None
) -> list[Path]:
    """Fetch the raw exposures of programs into ``<out>/uncal``, as `lyot run` needs them."""
    from lyot.archive.records import make_query

    everything = any(target.lower() == "all" for target in targets)
    query = make_query(programs, filters=[filter_name] if filter_name else (), targets=() if everything else targets)
    one_sequence = (stages is None or "3" in stages) and len(targets) < 2 and not everything
    result = fetch(query, out / "uncal", one_sequence=one_sequence)
    return list(result.files) if result is not None else []


def prepare_references(files: Sequence[Path], crds: Path | None, context: str | None) -> tuple[Path, str]:
    """Fetch the calibration references of exposures and say which; returns the cache and the context to use."""
    from lyot.reference_files.prefetch import prefetch_for

    result = prefetch_for(files, cache=crds, context=context)
    typer.echo(f"{len(result.references)} calibration references, context {result.context}")
    return result.cache, result.context


def download(
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")],
    programs: Annotated[list[str] | None, typer.Argument(help="Program numbers, e.g. 1386.")] = None,
    filters: Annotated[list[str] | None, typer.Option("--filter", help="Filter; may be repeated.")] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option("--target", help="Target, downloaded with its references and backgrounds. May be repeated."),
    ] = None,
    observations: Annotated[
        list[str] | None, typer.Option("--observation", help="Observation number; may be repeated.")
    ] = None,
    level: Annotated[str, typer.Option(help="uncal, rateints or calints.")] = "uncal",
    acquisitions: Annotated[bool, typer.Option("--acquisition", help="Also download target acquisitions.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the files.")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Number of simultaneous downloads.")] = None,
) -> None:
    """List and download exposures of a program or target in MAST.

    The list shows the role of each exposure. A repeated command downloads only missing or incomplete files and resumes
    interrupted transfers. For data under exclusive access set MAST_API_TOKEN.
    """
    from lyot.archive.records import make_query

    query = make_query(
        programs or (), targets=targets or (), observations=observations or (), filters=filters or (), level=level
    )
    fetch(query, out, acquisitions=acquisitions, dry_run=dry_run, jobs=jobs)


COMMANDS = {"download": download}
