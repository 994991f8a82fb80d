"""Classifies Postgres errors as transient or permanent, and explains them.

The classification by SQLSTATE (appendix A of the PostgreSQL manual) applies to retries inside a run and of a run.
"""

import re

import psycopg

_TRANSIENT = frozenset(
    {
        "40000",  # transaction_rollback
        "40001",  # serialization_failure
        "40003",  # statement_completion_unknown
        "40P01",  # deadlock_detected
        "23503",  # foreign_key_violation: the application deleted a campaign during the sync
        "25006",  # read_only_sql_transaction: the server was writable before, so this is a failover
        "25P03",  # idle_in_transaction_session_timeout
        "53200",  # out_of_memory
        "53300",  # too_many_connections
        "55P03",  # lock_not_available
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P05",  # idle_session_timeout
    }
)
"""All others are permanent: a full disk (53100), a missing permission (42501), a query that a user or a
statement_timeout cancelled (57014), ..."""

_CONNECTION_EXCEPTIONS = "08"
"""The class of their SQLSTATEs."""

_CURES = {
    "23503": "The application deleted a tenant, campaign or asset during the sync. Sync again.",
    "53100": "The disk of the Postgres server is full. Free or add space there, then sync again.",
    "53400": "A limit of the Postgres server was reached, such as temp_file_limit. Raise it, then sync again.",
    "42501": "The role of DATABASE_URL lacks a permission. `engarde doctor` prints the GRANT that is needed.",
    "25006": "The Postgres server is read-only. Set DATABASE_URL to the primary.",
    "57014": "The query was cancelled by a user or by the statement_timeout of the role.",
    "42P01": "A table is missing. Run `engarde db upgrade`; `engarde doctor` shows details.",
    "42703": "A column is missing. Run `engarde db upgrade`; `engarde doctor` shows details.",
}

# For a failed connection, libpq provides no SQLSTATE, only a text.
_PERMANENT_TEXT = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects|(role|database) .*"
    r" does not exist|no such (user|database)|is not permitted to log in|permission denied"
    r"|is not currently accepting connections|(configuration|startup) parameter"
    r"|wrong password type|SSL was required|certificate|GSSAPI"
    r"|authentication method|authentication request|connection is bad: |invalid ",
    re.IGNORECASE,
)
_TRANSIENT_TEXT = re.compile(
    r"starting up|shutting down|recovery|not yet accepting|too many|slots are reserved|no more connections",
    re.IGNORECASE,
)


def is_transient(error: psycopg.Error) -> bool:
    """Whether the same operation may succeed a little later."""
    if error.sqlstate:
        return error.sqlstate in _TRANSIENT or error.sqlstate.startswith(_CONNECTION_EXCEPTIONS)
    # libpq's own errors, such as a connection that the network dropped, have no SQLSTATE.
    return isinstance(error, psycopg.OperationalError)


def is_refused(error: psycopg.Error) -> bool:
    """Whether a failed connection will fail again, because the login, the address or TLS is refused.

    It is transient if the server does not respond, is starting, or has too many connections, or the host name is
    unknown.
    """
    if error.sqlstate or not isinstance(error, psycopg.OperationalError):
        return not is_transient(error)
    text = str(error)
    if _PERMANENT_TEXT.search(text):
        return True
    # The message may be in another language: any error message in response to a password is a refusal.
    answered = error.pgconn is not None and error.pgconn.used_password and ":  " in text
    return bool(answered and not _TRANSIENT_TEXT.search(text))


def explanation(error: psycopg.Error) -> str:
    """Return a message with the text of Postgres, the SQLSTATE and, if known, what to do."""
    text = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
    code = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
    cure = _CURES.get(error.sqlstate or "", "")
    return f"Postgres: {text}{code}. {cure}".strip()


def message_of(error: Exception) -> str:
    """Return an error's message for an operator: an explanation if it is an error of Postgres, else its text."""
    return explanation(error) if isinstance(error, psycopg.Error) else str(error)
