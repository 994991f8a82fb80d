"""The base classes of the errors that this package raises."""


class EngardeError(Exception):
    """An error that an operator can act on: the message says what is wrong, where, and what to do.

    Subclasses are defined beside the code that raises them. A message never contains a secret.
    """


class InvalidInput(EngardeError):
    """What somebody asked for cannot be done, for example because they mistyped a tenant or a date.

    The pipeline itself works, so a run that fails because of this is not reported to on-call.
    """
