"""Stages of a recipe: one file each, with the recipe keys it takes and the step it does."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from compressor.training.context import Context
    from compressor.training.options import StageOptions


class Stage(Protocol):
    """What a file in this folder defines."""

    Options: "type[StageOptions]"
    """Recipe keys, with the name of the file as the only value of ``stage``."""

    def run(self, artifact: Any, options: Any, context: "Context") -> Any:
        """Turn what the stage before gave into what the next one takes.

        Parameters
        ----------
        artifact : Model or OnnxGraph
            Annotated in each file with what it takes: `compressor.recipe` checks by the annotations of ``run`` that
            stages fit together. A stage may change a model in place.
        options : Options
            Of the same file.
        context : Context
            The folder of the stage, the data, and what else a stage may ask of the run. In a dry run a stage writes,
            trains and measures nothing, and raises for what would not fit.

        Returns
        -------
        Model or OnnxGraph
            Annotated in each file with what it gives.

        Raises
        ------
        ValueError
            If the model or the options do not fit the stage.
        NumericsError
            If a number computed in the stage is not as promised.
        """
