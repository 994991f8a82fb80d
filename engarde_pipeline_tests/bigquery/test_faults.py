"""What BigQuery, Google and the network do when something is wrong (rules 4, 9 and 10)."""

import json
import logging
import threading
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

import grpc
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from engarde_pipeline.bigquery import extraction
from engarde_pipeline.bigquery.errors import (
    AccessDenied,
    QuotaUsedUp,
    SourceError,
    SourceUnavailable,
    TableMissing,
)
from engarde_pipeline.bigquery.extraction import Selection, Source
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline_tests.bigquery.faulty import (
    HANGS_UP,
    Answer,
    Fault,
    Proxy,
    Request,
    StorageProxy,
    answer,
    refusal,
)
from engarde_pipeline_tests.world import CAMPAIGN_COLUMNS, World

DAY = date(2026, 3, 1)
TENANT = UUID("aaaaaaaa-0000-4000-8000-00000000000a")
EVERYTHING = Selection()
ROLES = ("BigQuery Data Viewer", "BigQuery Job User", "BigQuery Read Session User")

TABLE = "GET /bigquery/v2/projects/engarde-tests/datasets"
INSERT_JOB = "POST /bigquery/v2/projects/engarde-tests/jobs"
JOB = "GET /bigquery/v2/projects/engarde-tests/jobs/"
RESULTS = "GET /bigquery/v2/projects/engarde-tests/queries"

OVERLOADED = refusal(503, "backendError", "Error encountered during execution. Retrying may solve the problem.")
BROKEN = refusal(500, "internalError", "An internal error occurred and the request could not be completed.")
TOO_FAST = refusal(403, "rateLimitExceeded", "Exceeded rate limits: too many api requests per user per method.")
LOGIN_PAGE = Answer(200, b"<!DOCTYPE html><title>Sign in</title>", "text/html")
BAD_GATEWAY = Answer(502, b"<html><h1>502 Bad Gateway</h1></html>", "text/html")


def _rows(count: int) -> list[dict[str, Any]]:
    return [
        {"tenant_id": str(TENANT), "campaign_id": f"c{n}", "platform": "meta", "metric_date": DAY}
        for n in range(count)
    ]


@pytest.fixture(autouse=True)
def _three_rows(world: World) -> None:
    world.load(_rows(3))


def _read(source: Source, selection: Selection = EVERYTHING) -> tuple[str, list[str]]:
    extraction = source.read(source.inspect(CAMPAIGN_METRICS), DAY, DAY, selection)
    campaigns = [row["campaign_id"] for batch in extraction.batches for row in batch.to_pylist()]
    return extraction.method, sorted(campaigns)


ALL = ["c0", "c1", "c2"]


def _behind(proxy: Proxy, world: World, **settings: object) -> Source:
    """The world's dataset behind the proxy, with other settings."""
    addresses = {"bigquery_emulator_host": proxy.url, "bigquery_storage_emulator_host": None}
    return Source(world.settings.model_copy(update={**addresses, **settings}))


def _raised_by(read: Callable[[], object], error: type[SourceError]) -> str:
    """The message of the error that `read` ends with; fails where it hangs instead (the client's own way)."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            read()
        except Exception as found:
            raised.append(found)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=90)
    assert not thread.is_alive(), "it hangs"
    assert [type(found) for found in raised] == [error]
    return str(raised[0])


# The network


def test_a_refused_connection_is_an_error_that_names_the_table_and_the_network(world: World) -> None:
    nowhere = Source(world.settings.model_copy(update={"bigquery_emulator_host": "http://127.0.0.1:9"}))
    message = _raised_by(lambda: nowhere.inspect(CAMPAIGN_METRICS), SourceUnavailable)
    assert f"{world.dataset}.campaign_metrics" in message
    assert "Connection refused" in message
    assert "Check the network" in message


@pytest.mark.long
@pytest.mark.parametrize("call", [TABLE, INSERT_JOB])
def test_a_call_that_is_never_answered_is_given_up(
    faulty_source: Source, proxy: Proxy, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # BigQuery says at once that a query has begun; only an emulator is given the time of the whole query.
    monkeypatch.setattr(extraction, "READ_SECONDS", 10.0)
    given_up = threading.Event()

    def wait(_: Request) -> Answer:
        given_up.wait(120)
        return BROKEN

    proxy.fail(call, wait)
    message = _raised_by(lambda: _read(faulty_source), SourceUnavailable)
    given_up.set()
    assert "timed out" in message


@pytest.mark.parametrize("call", [TABLE, INSERT_JOB, RESULTS])
def test_a_dropped_connection_is_tried_again(faulty_source: Source, proxy: Proxy, call: str) -> None:
    proxy.fail(call, HANGS_UP, times=2)
    assert _read(faulty_source) == ("query", ALL)


# BigQuery's own faults


@pytest.mark.parametrize("call", [TABLE, INSERT_JOB, RESULTS])
@pytest.mark.parametrize("fault", [OVERLOADED, BROKEN, TOO_FAST, BAD_GATEWAY], ids=["503", "500", "403", "502"])
def test_a_transient_fault_is_tried_again(faulty_source: Source, proxy: Proxy, call: str, fault: Answer) -> None:
    proxy.fail(call, fault, times=1)
    assert _read(faulty_source) == ("query", ALL)
    assert len(proxy.seen(call)) >= 2


@pytest.mark.parametrize(
    ("call", "fault"),
    [(TABLE, OVERLOADED), pytest.param(INSERT_JOB, BROKEN, marks=pytest.mark.long)],
    ids=["503", "500"],
)
def test_a_fault_that_stays_is_an_error_that_says_it_is_not_ours(
    faulty_source: Source, proxy: Proxy, call: str, fault: Answer
) -> None:
    proxy.fail(call, fault)
    message = _raised_by(lambda: _read(faulty_source), SourceUnavailable)
    assert "campaign_metrics" in message
    assert "If BigQuery has an outage, try again later" in message
    assert len(proxy.seen(call)) > 2


def test_an_answer_that_is_not_bigquerys_is_an_error(faulty_source: Source, proxy: Proxy) -> None:
    proxy.fail(TABLE, LOGIN_PAGE)
    assert "Check the network" in _raised_by(lambda: _read(faulty_source), SourceUnavailable)


def _failed_job(reason: str, message: str) -> Callable[[Request], Answer]:
    """A query job that has failed, as jobs.insert gives it back."""

    def reply(request: Request) -> Answer:
        error = {"reason": reason, "message": message, "location": "query"}
        return answer({**request.json, "status": {"state": "DONE", "errorResult": error, "errors": [error]}})

    return reply


@pytest.mark.parametrize("reason", ["backendError", "jobBackendError", "jobRateLimitExceeded", "internalError"])
def test_a_query_that_fails_by_bigquerys_fault_is_started_again(
    faulty_source: Source, proxy: Proxy, reason: str
) -> None:
    proxy.fail(INSERT_JOB, _failed_job(reason, "Retrying may solve the problem."), times=1)
    assert _read(faulty_source) == ("query", ALL)
    assert len({request.json["jobReference"]["jobId"] for request in proxy.seen(INSERT_JOB)}) == 2


def test_a_query_that_takes_long_is_waited_for(faulty_source: Source, proxy: Proxy) -> None:
    def still_running(request: Request) -> Answer:
        job = json.loads(proxy.pass_on(request).body or b"")
        return answer({**job, "status": {"state": "RUNNING"}})

    def not_complete(request: Request) -> Answer:
        results = json.loads(proxy.pass_on(request).body or b"")
        return answer({"jobComplete": False, "jobReference": results["jobReference"]})

    proxy.fail(INSERT_JOB, still_running)
    proxy.fail(JOB, still_running, times=3)
    proxy.fail(RESULTS, not_complete, times=3)
    assert _read(faulty_source) == ("query", ALL)
    assert len(proxy.seen(INSERT_JOB)) == 1


def test_a_page_that_is_lost_is_fetched_again_and_no_row_comes_twice(
    world: World, faulty_source: Source, proxy: Proxy
) -> None:
    world.load(_rows(10_003)[3:])
    pages: list[Request] = []

    def second_page_once(request: Request) -> Answer | None:
        pages.append(request)
        return HANGS_UP if len(pages) == 3 else None  # the first waits for the query, the second brings rows

    proxy.fail(RESULTS, second_page_once)
    _, campaigns = _read(faulty_source)
    assert len(pages) > 3
    assert campaigns == sorted(f"c{n}" for n in range(10_003))


# Permissions, quotas and limits: permanent, so they fail at once


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (TABLE, "Access Denied: Table p:d.campaign_metrics: Permission bigquery.tables.get denied on table"),
        (INSERT_JOB, "Access Denied: Project p: User does not have bigquery.jobs.create permission in project p."),
        (RESULTS, "Access Denied: Table p:d.campaign_metrics: User does not have permission to query table"),
    ],
)
def test_a_missing_permission_names_what_google_says_and_the_roles(
    faulty_source: Source, proxy: Proxy, call: str, message: str
) -> None:
    proxy.fail(call, refusal(403, "accessDenied", message))
    shown = _raised_by(lambda: _read(faulty_source), AccessDenied)
    assert message.rstrip(".") in shown
    assert all(role in shown for role in ROLES)
    assert len(proxy.seen(call)) == 1


def test_a_query_job_that_is_denied_names_the_roles(faulty_source: Source, proxy: Proxy) -> None:
    proxy.fail(INSERT_JOB, _failed_job("accessDenied", "Access Denied: Table p:d.t"))
    assert all(role in _raised_by(lambda: _read(faulty_source), AccessDenied) for role in ROLES)


QUOTA = "Quota exceeded: Your project exceeded quota for free query bytes scanned."


@pytest.mark.parametrize(
    "fault", [refusal(403, "quotaExceeded", QUOTA), _failed_job("quotaExceeded", QUOTA)], ids=["call", "job"]
)
def test_a_used_up_quota_is_not_taken_for_a_missing_role(faulty_source: Source, proxy: Proxy, fault: Any) -> None:
    proxy.fail(INSERT_JOB, fault)
    shown = _raised_by(lambda: _read(faulty_source), QuotaUsedUp)
    assert QUOTA.rstrip(".") in shown
    assert "Try again in ten minutes" in shown
    assert "Viewer" not in shown
    assert len(proxy.seen(INSERT_JOB)) == 1


def test_a_query_that_would_bill_too_much_names_the_setting(faulty_source: Source, proxy: Proxy) -> None:
    proxy.fail(INSERT_JOB, _failed_job("bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 1."))
    assert "raise ENGARDE_MAXIMUM_BYTES_BILLED" in _raised_by(lambda: _read(faulty_source), SourceError)
    assert len(proxy.seen(INSERT_JOB)) == 1


def test_a_dataset_in_another_location_names_the_setting(faulty_source: Source, proxy: Proxy) -> None:
    proxy.fail(INSERT_JOB, refusal(404, "notFound", "Not found: Dataset p:d was not found in location US"))
    assert "BIGQUERY_LOCATION" in _raised_by(lambda: _read(faulty_source), SourceError)


def test_a_table_that_google_does_not_find_is_missing(faulty_source: Source, proxy: Proxy) -> None:
    proxy.fail(TABLE, refusal(404, "notFound", "Not found: Table p:d.campaign_metrics"))
    assert "create the table" in _raised_by(lambda: _read(faulty_source), TableMissing)


# Credentials


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture
def keyed_source(world: World, proxy: Proxy, private_key: str) -> Source:
    """The dataset behind the proxy, read with a service account whose tokens the proxy gives out."""
    proxy.fail("POST /token", answer({"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}))
    key = {
        "type": "service_account",
        "client_email": "sync@project.iam.gserviceaccount.com",
        "private_key": private_key,
        "token_uri": f"{proxy.url}/token",
    }
    return _behind(proxy, world, bigquery_credentials_json=SecretStr(json.dumps(key)))


def test_a_service_accounts_token_is_sent_with_every_call(keyed_source: Source, proxy: Proxy) -> None:
    assert _read(keyed_source) == ("query", ALL)
    sent = {request.headers.get("authorization") for request in proxy.seen("/bigquery/")}
    assert sent == {"Bearer a-token"}


def test_a_token_that_bigquery_rejects_is_access_denied(keyed_source: Source, proxy: Proxy) -> None:
    proxy.fail(TABLE, refusal(401, "authError", "Request had invalid authentication credentials."))
    assert "invalid authentication credentials" in _raised_by(lambda: _read(keyed_source), AccessDenied)


def test_a_deleted_key_is_access_denied_and_names_the_variable(keyed_source: Source, proxy: Proxy) -> None:
    refused = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    proxy.faults.insert(0, Fault("POST /token", Answer(400, json.dumps(refused).encode())))
    shown = _raised_by(lambda: _read(keyed_source), AccessDenied)
    assert "BIGQUERY_CREDENTIALS_JSON has not been deleted or expired" in shown


def test_a_token_service_that_is_down_is_not_taken_for_a_bad_key(keyed_source: Source, proxy: Proxy) -> None:
    proxy.faults.insert(0, Fault("POST /token", Answer(503, b'{"error": "internal_failure"}')))
    assert "try again later" in _raised_by(lambda: _read(keyed_source), SourceUnavailable)


# The Storage Read API


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "the user does not have 'bigquery.readsessions.create' permission"),
        (grpc.StatusCode.INVALID_ARGUMENT, "only tables stored in BigQuery storage are supported"),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
        (grpc.StatusCode.UNAVAILABLE, "the service is currently unavailable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_where_no_read_session_is_to_be_had_a_query_reads_and_a_warning_says_why(
    faulty_storage_source: Source,
    storage: StorageProxy,
    caplog: pytest.LogCaptureFixture,
    status: grpc.StatusCode,
    said: str,
) -> None:
    storage.refuse_sessions = (status, said)
    with caplog.at_level(logging.WARNING, "engarde_pipeline"):
        assert _read(faulty_storage_source) == ("query", ALL)
    assert said in caplog.text
    assert storage.calls == ["CreateReadSession"]


def test_rejected_credentials_are_not_tried_again_by_a_query(
    faulty_storage_source: Source, storage: StorageProxy
) -> None:
    storage.refuse_sessions = (grpc.StatusCode.UNAUTHENTICATED, "invalid authentication credentials")
    assert "invalid authentication" in _raised_by(lambda: _read(faulty_storage_source), AccessDenied)


@pytest.mark.parametrize("breaks", [[0], [1], [1, 1, 0, 1]], ids=["at once", "midway", "again and again"])
def test_a_stream_that_breaks_goes_on_where_it_was(
    world: World, faulty_storage_source: Source, storage: StorageProxy, breaks: list[int]
) -> None:
    world.execute(
        f"INSERT INTO {world.dataset}.campaign_metrics"
        f" SELECT '{TENANT}', CONCAT('c', CAST(n AS STRING)), 'meta', DATE '{DAY}', 1, 1, 1.0, 1, 1.0"
        " FROM UNNEST(GENERATE_ARRAY(3, 199999)) AS n"
    )
    storage.break_streams_after = list(breaks)
    extraction = faulty_storage_source.read(faulty_storage_source.inspect(CAMPAIGN_METRICS), DAY, DAY)
    campaigns = pa.Table.from_batches(list(extraction.batches))["campaign_id"]
    assert storage.calls.count("ReadRows") == 1 + len(breaks)
    assert (len(campaigns), len(campaigns.unique())) == (200_000, 200_000)


# Cost (rule 10)


@pytest.fixture
def query_request(faulty_source: Source, proxy: Proxy) -> dict[str, Any]:
    """The configuration of the one query that reads a slice."""
    _read(faulty_source, Selection(TENANT, platforms=("meta",), campaign_ids=("c0", "c'1")))
    (request,) = proxy.seen(INSERT_JOB)
    configuration: dict[str, Any] = request.json["configuration"]
    return configuration


def test_a_query_carries_the_most_bytes_it_may_bill(query_request: dict[str, Any]) -> None:
    assert query_request["query"]["maximumBytesBilled"] == str(100 * 1024**3)


def test_the_most_bytes_come_from_the_settings(world: World, proxy: Proxy) -> None:
    _read(_behind(proxy, world, engarde_maximum_bytes_billed=12345678))
    (request,) = proxy.seen(INSERT_JOB)
    assert request.json["configuration"]["query"]["maximumBytesBilled"] == "12345678"


def test_a_query_carries_labels(query_request: dict[str, Any]) -> None:
    assert query_request["labels"] == {"application": "engarde_pipeline", "table": "campaign_metrics"}


def test_values_are_bound_and_never_in_the_query(query_request: dict[str, Any]) -> None:
    bound = {
        parameter["name"]: parameter["parameterValue"].get("value")
        or [value["value"] for value in parameter["parameterValue"]["arrayValues"]]
        for parameter in query_request["query"]["queryParameters"]
    }
    assert bound == {
        "start": str(DAY),
        "end": str(DAY),
        "tenant": str(TENANT),
        "platforms": ["meta"],
        "campaigns": ["c0", "c'1"],
    }
    assert not any(value in query_request["query"]["query"] for value in (str(DAY), str(TENANT), "meta'", "'c0'"))


def test_a_query_filters_on_the_partition_column(query_request: dict[str, Any]) -> None:
    assert "WHERE `metric_date` BETWEEN @start AND @end" in query_request["query"]["query"]


def test_a_query_runs_in_the_configured_location(world: World, proxy: Proxy) -> None:
    proxy.fail(INSERT_JOB, refusal(404, "notFound", "Not found: Dataset"))
    update = {
        "bigquery_emulator_host": proxy.url,
        "bigquery_storage_emulator_host": None,
        "bigquery_location": "EU",
    }
    with pytest.raises(SourceError):
        _read(Source(world.settings.model_copy(update=update)))
    (request,) = proxy.seen(INSERT_JOB)
    assert request.json["jobReference"]["location"] == "EU"


def test_a_whole_read_costs_one_metadata_call_and_one_query(faulty_source: Source, proxy: Proxy) -> None:
    _read(faulty_source)
    assert len(proxy.seen(TABLE)) == 1
    assert len(proxy.seen("POST")) == 1


def test_a_storage_read_asks_for_just_our_columns_and_dates(
    world: World, faulty_storage_source: Source, storage: StorageProxy
) -> None:
    world.create_source(ctr="FLOAT64", note="STRING")
    _read(faulty_storage_source)
    (session,) = storage.sessions
    assert set(session.read_options.selected_fields) == set(CAMPAIGN_COLUMNS)
    assert session.read_options.row_restriction == f"metric_date BETWEEN '{DAY}' AND '{DAY}'"
