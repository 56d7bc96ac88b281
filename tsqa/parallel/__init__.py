"""The one place for work on several processes: `map_ordered`.

Guarantees: results come in the order of the chunks, whatever ends first, so that what is written
from them does not depend on the number of processes; few chunks are ahead of the one that is
waited for; no process outlives the command; one that dies is an error, never a wait.
"""

from tsqa.parallel.local import ALONE, Workers, own_cores

__all__ = ["ALONE", "Workers", "own_cores"]
