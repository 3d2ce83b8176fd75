"""Training that survives interruptions: a loop for notebook cells, ``fit`` for classifiers, ``evaluate``."""
from course_utils.training.evaluate import Evaluation, evaluate
from course_utils.training.fit import cross_entropy, fit
from course_utils.training.history import History
from course_utils.training.loop import TrainingDiverged, loop
from course_utils.training.optimizers import adam

__all__ = ["Evaluation", "History", "TrainingDiverged", "adam", "cross_entropy", "evaluate", "fit", "loop"]
