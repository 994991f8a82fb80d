"""The error of a login, which the page of the login shows."""

from engarde_pipeline.api.errors import Problem


class LoginFailed(Problem):
    """A login has failed; the message says why, and what to do."""
