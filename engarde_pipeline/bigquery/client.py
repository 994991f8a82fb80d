"""The official clients, with a deadline on every call and errors that say what to do."""

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

CALL_SECONDS = 10.0
"""How long a metadata call may take, its retries included: a refused connection is an error in seconds."""

READ_SECONDS = 600.0
"""How long a query, or one stream of a read, may take."""

RETRY = bigquery.DEFAULT_RETRY.with_timeout(CALL_SECONDS)

JOB_RETRY = DEFAULT_JOB_RETRY.with_timeout(60.0)
"""A query that fails by BigQuery's own fault is started again for so long."""

_NO_QUOTA = ("quotaExceeded", "rateLimitExceeded", "jobRateLimitExceeded")

_CURES = {
    "notFound": " Check BIGQUERY_LOCATION: a query runs only where its dataset is.",
    "bytesBilledLimitExceeded": " If so much is meant to be read, raise ENGARDE_MAXIMUM_BYTES_BILLED.",
}

_SCOPES = ("https://www.googleapis.com/auth/bigquery",)


def create_client(settings: Settings) -> bigquery.Client:
    """Return the BigQuery client for the configured project, or for the emulator where one is named.

    Raises:
        AccessDenied: there are no usable credentials.
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
    """Return the Storage Read API's client, or None for an emulator that names no storage endpoint.

    Raises:
        AccessDenied: there are no usable credentials.
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
    """Turn the clients' exceptions about `what` (a table, a query) into errors that say what to do."""
    try:
        yield
    except (
        google_errors.GoogleAPIError,
        auth_errors.GoogleAuthError,
        http_errors.RequestException,
        TimeoutError,
        grpc.RpcError,
    ) as error:
        raise _explained(error, what) from error


def _explained(error: Exception, what: str) -> SourceError:
    cause = getattr(error, "cause", None) or error  # of a RetryError
    reason, sentence = _reason(cause), _sentence(cause)
    # Google says 403 for a used-up quota too: the reason tells it from a missing role.
    if reason in _NO_QUOTA:
        kind = QuotaUsedUp if reason == "quotaExceeded" else SourceUnavailable
        return kind(
            f"BigQuery's quota is used up, about {what}: {sentence}. Try again in ten minutes or later; if it"
            " comes back, ask for more quota in the Google Cloud console."
        )
    if isinstance(error, (google_errors.Forbidden, google_errors.Unauthorized)):
        return AccessDenied(
            f"BigQuery refuses access to {what}: {sentence}. The service account needs the roles BigQuery Data"
            " Viewer (on the dataset), BigQuery Job User and BigQuery Read Session User (on the project)."
        )
    if isinstance(error, auth_errors.DefaultCredentialsError):
        return AccessDenied(
            "There are no Google credentials; set BIGQUERY_CREDENTIALS_JSON to a service account key, or run"
            " `gcloud auth application-default login`."
        )
    if isinstance(error, auth_errors.RefreshError) and not error.retryable:
        return AccessDenied(
            "Google rejects the credentials; check that the key in BIGQUERY_CREDENTIALS_JSON has not been"
            " deleted or expired."
        )
    is_rejected = isinstance(error, google_errors.ClientError) and error.code != HTTPStatus.TOO_MANY_REQUESTS
    if is_rejected or reason in _CURES:  # the client takes some of a job's reasons for a fault of the server
        return SourceError(f"BigQuery rejects a request about {what}: {sentence}.{_CURES.get(reason, '')}")
    return SourceUnavailable(
        f"BigQuery does not answer about {what}: {sentence}. Check the network and, for an emulator,"
        " BIGQUERY_EMULATOR_HOST; if BigQuery itself is at fault, try again later."
    )


def _credentials(settings: Settings) -> Credentials | None:
    if settings.bigquery_credentials_json:
        key = json.loads(settings.bigquery_credentials_json.get_secret_value())
        try:
            credentials: Credentials = service_account.Credentials.from_service_account_info(key, scopes=_SCOPES)
        except ValueError:  # its message may quote the key
            raise AccessDenied(
                "The private_key in BIGQUERY_CREDENTIALS_JSON cannot be read; paste the whole service account"
                " key file again, its \\n included."
            ) from None
        return credentials
    return AnonymousCredentials() if settings.bigquery_emulator_host else None


def _reason(error: Exception) -> str:
    return str(_detail(error).get("reason", ""))


def _sentence(error: Exception) -> str:
    text = _detail(error).get("message") or getattr(error, "message", None) or error
    return " ".join(str(text).split())[:500].rstrip(".")


def _detail(error: Exception) -> dict[str, object]:
    """Google's own account of an API error, where its answer has one."""
    details = getattr(error, "errors", None)
    return details[0] if details and isinstance(details[0], dict) else {}
