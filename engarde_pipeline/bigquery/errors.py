"""What can be wrong with the source as a whole (rule 4): each stops the sync before it changes anything."""

from engarde_pipeline.core.errors import EngardeError


class SourceError(EngardeError):
    """BigQuery cannot be read as it is; nothing was changed in Postgres."""


class TableMissing(SourceError):
    """The dataset has no such table."""


class SchemaMismatch(SourceError):
    """A column is missing or has a type the pipeline cannot read."""


class AccessDenied(SourceError):
    """BigQuery refuses the credentials, or the service account lacks a role."""


class SourceUnavailable(SourceError):
    """BigQuery does not answer: no network, a refused connection, or a deadline that ran out."""


class QuotaUsedUp(SourceUnavailable):
    """The project's quota is used up: it comes back in ten minutes or at midnight, not at once."""
