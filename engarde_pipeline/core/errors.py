"""The root of every error this package raises on purpose."""


class EngardeError(Exception):
    """Something a person can act on: the message says what is wrong, where, and what to do.

    Subclasses stand beside the code that raises them. A message never holds a secret.
    """
