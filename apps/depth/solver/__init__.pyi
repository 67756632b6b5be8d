from ._solve import solve as solve
from .config import GRIDS as GRIDS
from .config import SolverConfig as SolverConfig
from .config import check_gauge as check_gauge
from .handles import Grid as Grid
from .problem import Matches as Matches
from .problem import Problem as Problem
from .solution import Solution as Solution

__all__ = ["GRIDS", "Grid", "Matches", "Problem", "Solution", "SolverConfig", "check_gauge", "solve"]
