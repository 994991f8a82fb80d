"""Dagster's run launcher: starts runs as processes of the code server.

`engarde init` writes the class into dagster.yaml. A code server that is shutting down refuses new runs, and
Dagster would mark them as failed: the retry of a run that has just been stopped would fail at once, and so would
the next one, until none is left. Here, a refused run goes back to the queue until the next code server is there.
"""

from dagster import DefaultRunLauncher

from engarde_pipeline.dagster_internals import (
    DagsterLaunchFailedError,
    DagsterUserCodeUnreachableError,
    LaunchRunContext,
)

_REFUSALS = (
    "Tried to start a run on a server after telling it to shut down",
    "terminated unexpectedly with exit code -15",  # SIGTERM, before the run had started
)


class ProcessRunLauncher(DefaultRunLauncher):
    """Starts runs as processes of the code server; waits for the next one if it is shutting down."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run.

        Raises:
            DagsterUserCodeUnreachableError: the code server is shutting down; the run goes back to the queue.
        """
        try:
            super().launch_run(context)
        except DagsterLaunchFailedError as error:
            if any(refusal in str(error) for refusal in _REFUSALS):
                raise DagsterUserCodeUnreachableError("The code server is shutting down.") from error
            raise
