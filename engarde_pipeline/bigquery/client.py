"""The official clients, with a deadline on every call and errors that say what to do."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.oauth2 import service_account
from requests import exceptions as http_errors

from engarde_pipeline.bigquery.errors import AccessDenied, SourceError, SourceUnavailable
from engarde_pipeline.settings import Settings

CALL_SECONDS = 10.0
"""How long a metadata call may take, its retries included: a refused connection is an error in seconds."""

READ_SECONDS = 600.0
"""How long a query, or one stream of a read, may take."""

RETRY = bigquery.DEFAULT_RETRY.with_timeout(CALL_SECONDS)

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
    except (google_errors.Forbidden, google_errors.Unauthenticated) as error:
        raise AccessDenied(
            f"BigQuery refuses access to {what}: {_sentence(error)}. The service account needs the roles"
            " BigQuery Data Viewer (on the dataset), BigQuery Job User and BigQuery Read Session User (on"
            " the project)."
        ) from error
    except auth_errors.RefreshError as error:
        raise AccessDenied(
            "Google rejects the credentials; check that the key in BIGQUERY_CREDENTIALS_JSON has not been"
            " deleted or expired."
        ) from error
    except auth_errors.DefaultCredentialsError as error:
        raise AccessDenied(
            "There are no Google credentials; set BIGQUERY_CREDENTIALS_JSON to a service account key, or run"
            " `gcloud auth application-default login`."
        ) from error
    except (
        google_errors.RetryError,
        google_errors.ServerError,
        google_errors.TooManyRequests,
        auth_errors.TransportError,
        http_errors.RequestException,
        TimeoutError,
        grpc.RpcError,
    ) as error:
        raise SourceUnavailable(
            f"BigQuery does not answer about {what}: {_sentence(error)}. Check the network and, for an"
            " emulator, BIGQUERY_EMULATOR_HOST; if BigQuery itself is at fault, try again later."
        ) from error
    except google_errors.GoogleAPICallError as error:
        raise SourceError(f"BigQuery rejects a request about {what}: {_sentence(error)}") from error


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


def _sentence(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error
    return " ".join(str(getattr(cause, "message", None) or cause).split())[:500]
