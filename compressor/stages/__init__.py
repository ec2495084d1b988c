"""Stages of a recipe: one file per stage, with its recipe keys and its work."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from compressor.training.context import Context
    from compressor.training.options import StageOptions


class Stage(Protocol):
    """The names that a file in this folder defines."""

    Options: "type[StageOptions]"
    """Recipe keys, with the name of the file as the only value of ``stage``."""

    def run(self, artifact: Any, options: Any, context: "Context") -> Any:
        """Turn the artifact of the previous stage into that of this one.

        Parameters
        ----------
        artifact : Model or OnnxGraph
            Annotated in each file with the type that it accepts: `compressor.recipe` uses the annotations of ``run``
            to check that stages fit together. A stage may change a model in place.
        options : Options
            An instance of the class above, from the same file.
        context : Context
            The folder of the stage, the data, and the other parts of the run that a stage may use. In a dry run a
            stage writes, trains and measures nothing, and raises an error if something would not fit.

        Returns
        -------
        Model or OnnxGraph
            Annotated in each file with the type that it returns.

        Raises
        ------
        ValueError
            If the model or the options do not fit the stage.
        NumericsError
            If a check of the computed numbers fails.
        """
