"""One error root; a user sees the message and the fix, never a traceback (unless `--debug`)."""


class TsqaError(Exception):
    """Anything a user can cause and fix. `fix` is one sentence that says how."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message + (f"\n  fix: {fix}" if fix else ""))
        self.fix = fix


class RecipeError(TsqaError):
    """The recipe is wrong: raised before any work starts."""


class DataError(TsqaError):
    """An input file is missing, broken or too small."""


class LeakError(TsqaError):
    """A split that is evaluated would reach the training data."""


class EngineError(TsqaError):
    """vLLM, DeepSpeed or accelerate did not start or died; the message holds its last log lines."""


class CheckpointError(TsqaError):
    """A checkpoint is incomplete, damaged, or belongs to another plan."""
