"""Simulate a whole observing sequence: level-1b files, the truth, and the calibration cache that goes with them."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lyot.errors import ConfigError, OutputError, output_error
from lyot.instrument import coronagraph
from lyot.optics import OpticsParams
from lyot.simulator.cosmic_rays import HIT_DTYPE, CosmicRays
from lyot.simulator.crds_cache import CrdsCache, write_crds_cache
from lyot.simulator.detector import DetectorModel, build_detector
from lyot.simulator.exposure import RampMaker, light_slope
from lyot.simulator.level1b import Level1bWriter
from lyot.simulator.light import Light, LightMaker
from lyot.simulator.params import SequenceParams
from lyot.simulator.plan import Exposure, Size, plan_sequence, size_of
from lyot.simulator.scene import Scene, load_scene, write_scene
from lyot.simulator.truth import TRUTH, ExposureTruth, write_truth

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
"""Called with the fraction done (0 to 1) and what is being written."""

DEFAULTS = SequenceParams()

CACHE = "crds_cache"
SCENE = "scene.toml"


@dataclass(frozen=True)
class SimulatedSequence:
    """A sequence on disk.

    Attributes
    ----------
    path : Path
        Its folder.
    uncal : tuple of Path
        Level-1b files in the order of observation.
    truth : Path
        ``truth.json``.
    scene : Path
        ``scene.toml``: the scene as it was used.
    crds : CrdsCache or None
        The calibration cache; None if it was not asked for.
    exposures : tuple of Exposure
        Roles, sizes and pointing, in the order of `uncal`.
    """

    path: Path
    uncal: tuple[Path, ...]
    truth: Path
    scene: Path
    crds: CrdsCache | None
    exposures: tuple[Exposure, ...]


@dataclass(frozen=True)
class _Job:
    """What all exposures of one sequence share."""

    scene: Scene
    detector: DetectorModel
    seed: int
    report: Callable[[int, str], None]


def simulate_sequence(
    out: str | Path,
    *,
    filter: str = DEFAULTS.filter,
    size: str | Size = DEFAULTS.size,
    seed: int = DEFAULTS.seed,
    scene: Scene | str | Path | None = DEFAULTS.scene,
    overwrite: bool = False,
    crds_cache: bool = True,
    jobs: int | None = DEFAULTS.jobs,
    optics: OpticsParams | None = None,
    progress: Progress | None = None,
) -> SimulatedSequence:
    """Simulate a sequence of HIP 65426: both rolls, the dithered reference star, and their backgrounds.

    Parameters
    ----------
    out : path
        Folder to make. It appears only when everything in it is written.
    filter : str
        F1065C, F1140C, F1550C or F2300C.
    size : "small", "medium", "full" or Size
        15 files: about 170 MB, 1 GB or 13 GB (a fifth of that is the reference output).
    seed : int
        Random seed. The same seed, version and arguments give the same bytes.
    scene : Scene, str or path, optional
        A scene, the name of a bundled one (`lyot.simulator.scene.BUNDLED_SCENES`), or a TOML file; by default
        HIP 65426.
    overwrite : bool
        Replace an earlier simulated sequence in `out`; any other folder that is not empty is refused.
    crds_cache : bool
        Write the calibration cache as well.
    jobs : int, optional
        Threads; the result does not depend on it. All processors by default.
    optics : OpticsParams, optional
        Replaces the optics of the scene, e.g. by a coarser and quicker one.
    progress : callable, optional
        See `Progress`.

    Returns
    -------
    SimulatedSequence

    Raises
    ------
    OutputError
        If the folder may not be replaced, cannot be written, or the disk is too full; nothing is left behind.
    ConfigError
        For a filter, size, scene, seed or number of threads that cannot be used.
    """
    table, size, scene = coronagraph(filter), size_of(size), load_scene(scene)
    if seed < 0 or (jobs is not None and jobs < 1):
        raise ConfigError(f"simulate: seed must not be negative and jobs at least 1, got seed {seed} and jobs {jobs}.")
    exposures = plan_sequence(table, size, scene, seed)
    detector = build_detector(table, seed, brighter_fatter=scene.detector.brighter_fatter)
    total = sum(e.nbytes for e in exposures)
    out = Path(out)
    with _new_folder(out, total, overwrite=overwrite) as folder:
        done = _Counter(total, progress)
        job = _Job(scene, detector, seed, done.add)
        (folder / SCENE).write_text(write_scene(scene), encoding="utf-8")
        maker = LightMaker.build(scene, table.filter, seed, params=optics)
        truths = _write_exposures(folder, exposures, maker, job, jobs or os.cpu_count() or 1)
        write_truth(folder, truths, scene=scene, detector=detector, size=size, seed=seed)
        cache = None
        if crds_cache:
            done.add(0, "calibration cache")
            ngroups = max(size.science[1], size.reference[1])
            cache = write_crds_cache(folder / CACHE, {table.filter: detector}, ngroups=ngroups)
    done.finish()
    return SimulatedSequence(
        path=out,
        uncal=tuple(out / e.filename for e in exposures),
        truth=out / TRUTH,
        scene=out / SCENE,
        crds=None if cache is None else replace(cache, path=out / CACHE),
        exposures=exposures,
    )


class _Counter:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._done, self._progress = total, 0, progress

    def add(self, nbytes: int, message: str) -> None:
        self._done += nbytes
        if self._progress is not None:
            self._progress(0.99 * self._done / self._total, message)

    def finish(self) -> None:
        if self._progress is not None:
            self._progress(1.0, "done")


def _write_exposures(
    folder: Path, exposures: tuple[Exposure, ...], maker: LightMaker, job: _Job, jobs: int
) -> list[ExposureTruth]:
    """Write all files; the light of the next exposure is computed while one is drawn."""
    truths = []
    with ThreadPoolExecutor(jobs) as pool, ThreadPoolExecutor(1) as ahead:
        lights: list[Future[Light]] = [ahead.submit(maker.light, exposures[0])]
        for k, exposure in enumerate(exposures):
            light = lights.pop().result()
            if k + 1 < len(exposures):
                lights.append(ahead.submit(maker.light, exposures[k + 1]))
            truths.append(_write_exposure(folder, exposure, light, job, pool))
    return truths


def _write_exposure(
    folder: Path, exposure: Exposure, light: Light, job: _Job, pool: ThreadPoolExecutor
) -> ExposureTruth:
    slope = light_slope(light.image, job.detector)
    rays = CosmicRays(job.scene.detector.cosmic_ray_rate)
    ramps = RampMaker(exposure, slope, job.detector, seed=job.seed, cosmic_rays=rays)
    hits = []
    with (
        Level1bWriter(folder / exposure.filename, exposure, job.scene, seed=job.seed) as writer,
        ThreadPoolExecutor(1) as disk,
    ):
        pending: Future[None] | None = None
        for part in ramps.integrations(pool):
            hits.append(part.hits)
            if pending is not None:
                pending.result()
            pending = disk.submit(writer.write, part.number, part.science, part.reference_output)
            job.report(part.science.nbytes + part.reference_output.nbytes, exposure.filename)
        if pending is not None:
            pending.result()
    log.info("wrote %s", exposure.filename)
    all_hits = np.concatenate(hits) if hits else np.zeros(0, HIT_DTYPE)
    return ExposureTruth(exposure, light, slope.astype(np.float32), all_hits)


def _check_replaceable(out: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{out}: is a file; choose a folder.")
    if not any(out.iterdir()):
        return
    if not (out / TRUTH).exists():
        raise OutputError(f"{out}: the folder is not empty and contains no simulated sequence; choose another folder.")
    if not overwrite:
        raise OutputError(
            f"{out}: already contains a simulated sequence; choose another folder, or overwrite it (overwrite=True, "
            "--overwrite)."
        )


@contextmanager
def _new_folder(out: Path, nbytes: int, *, overwrite: bool) -> Iterator[Path]:
    """Give a new folder beside `out` that takes its place when the block ends well, and vanishes otherwise."""
    _check_replaceable(out, overwrite=overwrite)
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(parent).free
        if free < 1.05 * nbytes + 300e6:
            need = (1.05 * nbytes + 300e6) / 1e9
            raise OutputError(
                f"{out}: {need:.1f} GB required, {free / 1e9:.1f} GB free; free some space or choose another folder."
            )
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=parent))
        folder.chmod(0o755)
    except OutputError:
        raise
    except OSError as error:
        raise output_error(out, error) from error
    try:
        yield folder
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OutputError):
            raise
        raise output_error(out, error) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
