"""A study: losses times seeds, planned, trained cell by cell, and summed up with intervals. No torch.

plan          settings -> plan.json: which cells there are
continuation  a study continues or extends the one in its folder, or is refused
estimate      what a study will cost
stage_weights what a calibration gave each loss
cells         train them one after the other; what is done is skipped, what failed is noted and tried again
local         train several at once, each in a process of its own
ray_*         train them on the machines of a Ray cluster
stats         paired differences over seeds
intervals     their interval over seeds and test images, and what follows from it
results       result.json files -> one summary
headline      the summary in words
reproduce     the paper's data sets as studies
"""

from smoothiou.study.cells import CellEvent, cell_folder, cell_state, lock_study, run_cells, train_cell
from smoothiou.study.continuation import refuse_other_study, write_or_continue
from smoothiou.study.estimate import estimate
from smoothiou.study.headline import sentence_of_result
from smoothiou.study.local import run_parallel, train_command
from smoothiou.study.plan import facts_of_cuts, make_plan, read_plan
from smoothiou.study.ray_cluster import RayOptions, run_on_ray
from smoothiou.study.results import collect, signature, validate_result
from smoothiou.study.stage_weights import read_calibration
from smoothiou.study.stats import paired_difference

__all__ = [
    "facts_of_cuts",
    "make_plan",
    "read_plan",
    "read_calibration",
    "refuse_other_study",
    "write_or_continue",
    "estimate",
    "CellEvent",
    "cell_folder",
    "cell_state",
    "lock_study",
    "run_cells",
    "train_cell",
    "run_parallel",
    "train_command",
    "RayOptions",
    "run_on_ray",
    "paired_difference",
    "collect",
    "sentence_of_result",
    "signature",
    "validate_result",
]
