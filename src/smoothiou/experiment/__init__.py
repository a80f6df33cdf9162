"""The composition root: the one room that may import every other.

    run             settings -> one finished run folder
    evaluate_run    run folder -> metrics of its weights
    predict_images  run folder and images -> boxes and pictures
    compare_cells   finished cells of a study -> comparison.json and the gallery
    describe_data   settings -> what a plan remembers about its data
    describe_devices
"""

from smoothiou.experiment.compare import compare_cells
from smoothiou.experiment.devices import describe_devices
from smoothiou.experiment.measure import evaluate_run
from smoothiou.experiment.predict import predict_images
from smoothiou.experiment.run import run
from smoothiou.experiment.splits import describe_data, open_splits

__all__ = [
    "run",
    "evaluate_run",
    "predict_images",
    "compare_cells",
    "describe_data",
    "open_splits",
    "describe_devices",
]
