"""The errors of the whole source (rule 4), which stop a sync before it changes anything."""

from engarde_pipeline.core.errors import EngardeError


class SourceError(EngardeError):
    """BigQuery cannot be read; nothing was changed in Postgres."""


class TableMissing(SourceError):
    """The dataset or the table does not exist."""


class SchemaMismatch(SourceError):
    """A column is missing or has a type that the pipeline cannot read."""


class AccessDenied(SourceError):
    """The credentials are rejected, or the service account lacks a role."""


class SourceUnavailable(SourceError):
    """BigQuery does not respond: no network, a refused connection, or an exceeded deadline."""


class QuotaUsedUp(SourceUnavailable):
    """A quota of the project is used up; it is available again in ten minutes or at midnight."""
