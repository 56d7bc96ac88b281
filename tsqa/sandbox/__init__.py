"""Programs of models run here: within a boundary, with a verdict that is not theirs to give."""

from tsqa.sandbox.boundary import find_boundary as find_boundary
from tsqa.sandbox.boundary import need_boundary as need_boundary
from tsqa.sandbox.run import Boundary as Boundary
from tsqa.sandbox.run import BusyError as BusyError
from tsqa.sandbox.run import run_program as run_program
