"""The base class of the errors that this package raises."""


class EngardeError(Exception):
    """An error that an operator can act on: the message says what is wrong, where, and what to do.

    Subclasses are defined beside the code that raises them. A message never contains a secret.
    """
