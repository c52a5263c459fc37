"""Interface for notebooks and scripts: `lyot.reduce`, `lyot.open`, `lyot.simulate`, `lyot.subtract_star`, and `Run`."""

from lyot.interface.arrays import Subtracted, subtract_star
from lyot.interface.run import InjectedRun, Run, open, reduce
from lyot.interface.simulation import simulate

__all__ = ["InjectedRun", "Run", "Subtracted", "open", "reduce", "simulate", "subtract_star"]
