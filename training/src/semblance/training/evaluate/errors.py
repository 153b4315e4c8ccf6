"""What ends an evaluation."""


class EvaluationError(Exception):
    """The dataset, the service or an earlier evaluation is not what is needed; the text says what to do."""
