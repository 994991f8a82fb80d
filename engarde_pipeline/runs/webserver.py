"""Starts runs through the GraphQL API of Dagster's webserver, which knows the code locations and the run queue."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from requests import ConnectionError as CannotConnect
from requests import Timeout

from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.runs.run_config import RunSpec

_TIMEOUT = 90
"""Seconds until a request is given up. The webserver waits for a code server for 60 seconds, so by then it has
submitted the run or refused it."""

_UNKNOWN_JOB = "JobNotFoundError"


class RunNotSubmitted(EngardeError):
    """Dagster's webserver cannot be reached, or did not submit the run."""


class Webserver:
    """Dagster's webserver at `url`. It is not thread-safe."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._client = DagsterGraphQLClient(
            parts.hostname or "",
            parts.port,
            use_https=parts.scheme == "https",
            path_prefix=parts.path.rstrip("/"),
            timeout=_TIMEOUT,
        )

    def submit(self, spec: RunSpec, tags: Mapping[str, str]) -> str:
        """Submit a run with the tags of `spec` and `tags` to the run queue, and return its id.

        The job is found by its name, whatever the code location is called.

        Raises:
            RunNotSubmitted: the run was not submitted, or the webserver did not respond in time.
        """
        try:
            return self._client.submit_job_execution(
                spec.job, run_config=spec.run_config, tags={**spec.tags, **tags}
            )
        except DagsterGraphQLClientError as error:
            raise RunNotSubmitted(self._explanation(error, spec.job)) from error

    def _explanation(self, error: DagsterGraphQLClientError, job: str) -> str:
        webserver = f"Dagster's webserver at {self._url}"
        causes = list(_causes(error))
        if any(isinstance(cause, Timeout) for cause in causes):
            return f"{webserver} did not respond within {_TIMEOUT} seconds; the run may still start."
        if any(isinstance(cause, CannotConnect) for cause in causes):
            return (
                f"{webserver} cannot be reached. Start it with `engarde dev` or `dagster-webserver`, or set"
                " ENGARDE_WEBSERVER_URL to its address."
            )
        if causes:
            return (
                f"{webserver} does not respond like Dagster's GraphQL API. If a proxy with a login is in front of"
                " it, set ENGARDE_WEBSERVER_URL to an address behind the proxy."
            )
        if error.args[0] == _UNKNOWN_JOB:
            return (
                f"{webserver} has no code location with the job {job}. The code location may be loading; its page"
                " in the Dagster UI, Deployment, shows why it does not load."
            )
        return f"{webserver} did not submit the run: {' '.join(map(str, error.args))}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    while error.__cause__:
        error = error.__cause__
        yield error
