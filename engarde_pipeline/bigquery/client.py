"""The BigQuery clients, with deadlines for all calls and errors that say what to do."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import grpc
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_JOB_RETRY
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.oauth2 import service_account
from requests import exceptions as http_errors

from engarde_pipeline.bigquery.errors import AccessDenied, QuotaUsedUp, SourceError, SourceUnavailable
from engarde_pipeline.settings import Settings

Client = bigquery.Client

CALL_SECONDS = 10.0
"""The deadline of a metadata call, retries included, so that a refused connection fails within seconds."""

READ_SECONDS = 600.0
"""The deadline of a query, and of one stream of the Storage Read API."""

RETRY = bigquery.DEFAULT_RETRY.with_timeout(CALL_SECONDS)

JOB_RETRY = DEFAULT_JOB_RETRY.with_timeout(60.0)
"""How long a query that fails because of an error in BigQuery is started again."""

_QUOTA_REASONS = ("quotaExceeded", "rateLimitExceeded", "jobRateLimitExceeded")

_CURES = {
    "notFound": " Check BIGQUERY_LOCATION: a query must run in the location of its dataset.",
    "bytesBilledLimitExceeded": " If the query is meant to read that much, raise ENGARDE_MAXIMUM_BYTES_BILLED.",
}

_SCOPES = ("https://www.googleapis.com/auth/bigquery",)


def create_client(settings: Settings) -> bigquery.Client:
    """Return a BigQuery client for the configured project or emulator.

    Raises:
        AccessDenied: there are no valid credentials.
    """
    options = {"api_endpoint": settings.bigquery_emulator_host} if settings.bigquery_emulator_host else None
    with source_errors("BigQuery"):
        return bigquery.Client(
            project=settings.bigquery_project_id,
            location=settings.bigquery_location,
            credentials=_credentials(settings),
            client_options=options,
        )


def create_storage_client(settings: Settings) -> BigQueryReadClient | None:
    """Return a client of the Storage Read API, or None for an emulator without a storage endpoint.

    Raises:
        AccessDenied: there are no valid credentials.
    """
    if settings.bigquery_storage_emulator_host:
        channel = grpc.insecure_channel(
            settings.bigquery_storage_emulator_host, options=[("grpc.max_receive_message_length", -1)]
        )
        return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
    if settings.bigquery_emulator_host:
        return None
    with source_errors("BigQuery"):
        return BigQueryReadClient(credentials=_credentials(settings))


@contextmanager
def source_errors(what: str) -> Iterator[None]:
    """Convert the clients' exceptions about `what`, such as a table, into errors that say what to do."""
    try:
        yield
    except (
        google_errors.GoogleAPIError,
        auth_errors.GoogleAuthError,
        http_errors.RequestException,
        TimeoutError,
        grpc.RpcError,
    ) as error:
        raise _source_error(error, what) from error


def _source_error(error: Exception, what: str) -> SourceError:
    cause = getattr(error, "cause", None) or error  # of a RetryError
    reason, message = _reason(cause), _message(cause)
    # Google also answers 403 when a quota is used up; the reason distinguishes this from a missing role.
    if reason in _QUOTA_REASONS:
        kind = QuotaUsedUp if reason == "quotaExceeded" else SourceUnavailable
        return kind(
            f"A BigQuery quota is used up ({what}): {message}. Try again in ten minutes or later. If this happens"
            " often, request more quota in the Google Cloud console."
        )
    if isinstance(error, (google_errors.Forbidden, google_errors.Unauthorized)):
        return AccessDenied(
            f"BigQuery denies access to {what}: {message}. The service account needs the roles BigQuery Data"
            " Viewer (on the dataset), BigQuery Job User and BigQuery Read Session User (on the project)."
        )
    if isinstance(error, auth_errors.DefaultCredentialsError):
        return AccessDenied(
            "No Google credentials were found. Set BIGQUERY_CREDENTIALS_JSON to a service account key, or run"
            " `gcloud auth application-default login`."
        )
    if isinstance(error, auth_errors.RefreshError) and not error.retryable:
        return AccessDenied(
            "Google rejects the credentials. Check that the key in BIGQUERY_CREDENTIALS_JSON has not been"
            " deleted or expired."
        )
    is_rejected = isinstance(error, google_errors.ClientError) and error.code != HTTPStatus.TOO_MANY_REQUESTS
    if is_rejected or reason in _CURES:  # the client reports some failures of a job as server errors
        return SourceError(f"BigQuery rejects a request ({what}): {message}.{_CURES.get(reason, '')}")
    return SourceUnavailable(
        f"BigQuery does not respond ({what}): {message}. Check the network and, for an emulator,"
        " BIGQUERY_EMULATOR_HOST. If BigQuery has an outage, try again later."
    )


def _credentials(settings: Settings) -> Credentials | None:
    if settings.bigquery_credentials_json:
        key = json.loads(settings.bigquery_credentials_json.get_secret_value())
        try:
            credentials: Credentials = service_account.Credentials.from_service_account_info(key, scopes=_SCOPES)
        except ValueError:  # the message may contain the key
            raise AccessDenied(
                "The private_key in BIGQUERY_CREDENTIALS_JSON cannot be read. Paste the whole service account key"
                " file again, including each \\n."
            ) from None
        return credentials
    return AnonymousCredentials() if settings.bigquery_emulator_host else None


def _reason(error: Exception) -> str:
    return str(_detail(error).get("reason", ""))


def _message(error: Exception) -> str:
    text = _detail(error).get("message") or getattr(error, "message", None) or error
    return " ".join(str(text).split())[:500].rstrip(".")


def _detail(error: Exception) -> dict[str, object]:
    """Return the first detail of an API error, or an empty dict."""
    details = getattr(error, "errors", None)
    return details[0] if details and isinstance(details[0], dict) else {}
