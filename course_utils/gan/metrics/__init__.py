"""How near a generator has come to its data."""
from course_utils.gan.metrics.attribute_judge import attribute_accuracy, attribute_net, attribute_probabilities, attributes
from course_utils.gan.metrics.judge import feature_net, features, picture_distance
from course_utils.gan.metrics.frechet import frechet_distance
from course_utils.gan.metrics.modes import mode_counts, modes_covered
from course_utils.gan.metrics.neighbours import nearest
from course_utils.gan.metrics.outline_judge import outline, outline_net, overlap
from course_utils.gan.metrics.parzen import parzen_log_likelihood
from course_utils.gan.metrics.sliced import sliced_wasserstein

__all__ = [
    "attribute_accuracy", "attribute_net", "attribute_probabilities", "attributes",
    "feature_net", "features", "frechet_distance", "mode_counts", "modes_covered", "nearest", "outline", "outline_net", "overlap",
    "parzen_log_likelihood", "picture_distance", "sliced_wasserstein",
]
