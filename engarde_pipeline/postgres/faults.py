"""Which of Postgres' errors pass by themselves, and what to say about those that do not.

One definition by SQLSTATE (appendix A of PostgreSQL's manual), for retries inside a run and for those of a run.
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
        "25006",  # read_only_sql_transaction: the server was writable at first, so a failover is under way
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
"""Everything else comes back: a full disk (53100), a missing right (42501), a query that somebody or a
statement_timeout cancelled (57014), ..."""

_CONNECTION_EXCEPTIONS = "08"
"""The class of SQLSTATEs."""

_CURES = {
    "23503": "The application deleted a tenant, campaign or asset during the sync; the next sync leaves it out.",
    "53100": "The disk of the Postgres server is full. Free or add space there, then sync again.",
    "53400": "A limit of the Postgres server was reached (temp_file_limit, for instance). Raise it, then sync.",
    "42501": "The role of DATABASE_URL lacks a permission. `engarde doctor` names the GRANT.",
    "25006": "The Postgres server is read-only. Let DATABASE_URL name the primary.",
    "57014": "Postgres cancelled the query: see statement_timeout of the role, or who cancelled it.",
    "42P01": "A table is missing. Run `engarde db upgrade`; `engarde doctor` says more.",
    "42703": "A column is missing. Run `engarde db upgrade`; `engarde doctor` says more.",
}

# libpq hands over no SQLSTATE for a failed connection, only a text.
_WILL_BE_REFUSED_AGAIN = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects|(role|database) .*"
    r" does not exist|no such (user|database)|is not permitted to log in|permission denied"
    r"|is not currently accepting connections|(configuration|startup) parameter"
    r"|wrong password type|SSL was required|certificate|GSSAPI"
    r"|authentication method|authentication request|connection is bad: |invalid ",
    re.IGNORECASE,
)
_WILL_PASS = re.compile(
    r"starting up|shutting down|recovery|not yet accepting|too many|slots are reserved|no more connections",
    re.IGNORECASE,
)


def is_transient(error: psycopg.Error) -> bool:
    """Whether the same may succeed a little later."""
    if error.sqlstate:
        return error.sqlstate in _TRANSIENT or error.sqlstate.startswith(_CONNECTION_EXCEPTIONS)
    # libpq's own errors, such as a connection that the network dropped, have no SQLSTATE.
    return isinstance(error, psycopg.OperationalError)


def is_refused(error: psycopg.Error) -> bool:
    """Whether a failed connection will fail again: the login, the address or TLS is refused.

    Not so a server that does not answer, starts, or has too many connections, nor a host name that is not found.
    """
    if error.sqlstate or not isinstance(error, psycopg.OperationalError):
        return not is_transient(error)
    text = str(error)
    if _WILL_BE_REFUSED_AGAIN.search(text):
        return True
    # A server may speak another language: its answer, after the severity, to a password is a refusal.
    answered = error.pgconn is not None and error.pgconn.used_password and ":  " in text
    return bool(answered and not _WILL_PASS.search(text))


def explanation(error: psycopg.Error) -> str:
    """Return an error for the person who looks at it: Postgres' words, the SQLSTATE, and the cure where known."""
    said = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
    code = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
    cure = _CURES.get(error.sqlstate or "", "")
    return f"Postgres: {said}{code}. {cure}".strip()
