"""`lyot.simulate`: an observing sequence with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lyot.simulator.sequence import SimulatedSequence


def simulate(
    out: str | Path,
    *,
    filter: str = "F1550C",
    size: str = "small",
    seed: int = 1,
    scene: str | Path | None = None,
    overwrite: bool = False,
) -> SimulatedSequence:
    """Simulate the raw exposures of an observing sequence, with truth and calibration references.

    Parameters
    ----------
    out : path
        Output folder.
    filter : str, optional
        F1065C, F1140C, F1550C or F2300C.
    size : str, optional
        ``small`` (170 MB), ``medium`` (1 GB) or ``full`` (as observed, 13 GB).
    seed : int, optional
        Random seed; the same seed gives the same files.
    scene : str or path, optional
        TOML file, or the name of a bundled scene such as ``bright_planet``; HIP 65426 by default.
    overwrite : bool, optional
        Overwrite an earlier simulated sequence.

    Returns
    -------
    SimulatedSequence
        Paths of the exposures, of ``truth.json`` and of the calibration cache, which `lyot.reduce` finds automatically.

    Raises
    ------
    ConfigError
        For a filter, size or scene that does not exist.
    OutputError
        If the folder contains other files, or cannot be written.

    Examples
    --------
    >>> import lyot
    >>> sequence = lyot.simulate("sim", scene="bright_planet")  # doctest: +SKIP
    >>> run = lyot.reduce("sim", "reduced")  # doctest: +SKIP
    """
    from lyot.simulator.sequence import simulate_sequence

    return simulate_sequence(out, filter=filter, size=size, seed=seed, scene=scene, overwrite=overwrite)
