"""What looks like a secret does not reach a log, and what does not is left as it is."""

import pytest

from engarde_pipeline.telemetry import redaction
from engarde_pipeline.telemetry.redaction import redact

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ0ZW5hbnRfaWQiOiIxIn0.c2lnbmF0dXJl"  # noqa: S105  signs nothing


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgresql://engarde:s3cr:et/p@db:5432/app?sslmode=require", "postgresql://engarde:***@db:5432/app?sslmode=require"),
        ("redis://:s3cret@queue:6379/0 is down", "redis://:***@queue:6379/0 is down"),
        ("host=db password=s3cret user=engarde", "host=db password=*** user=engarde"),
        ("host=db password='s3 cret' user=engarde", "host=db password=*** user=engarde"),
        ("postgresql://db/app?user=u&password=s3cret&sslpassword=t0p", "postgresql://db/app?user=u&password=***&sslpassword=***"),
        ('{"private_key": "s3cret", "project_id": "p"}', '{"private_key": "***", "project_id": "p"}'),
        ("{'routing_key': 's3cret', 'dedup_key': 'x'}", "{'routing_key': '***', 'dedup_key': '***'}"),
        ('"{\\"client_secret\\": \\"s3cret\\", \\"a\\": 1}"', '"{\\"client_secret\\": \\"***\\", \\"a\\": 1}"'),
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer ***"),
        (f"the token {TOKEN} is not valid", "the token *** is not valid"),
        ("authorization: basic dXNlcjpwYXNz=", "authorization: basic ***"),
        (
            "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----\nafter",
            "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----\nafter",
        ),
        ("https://hooks.slack.com/services/T0/B0/s3cret failed", "https://hooks.slack.com/services/*** failed"),
    ],
)  # fmt: skip
def test_a_secret_is_hidden(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "JWT_SECRET_KEY: is too short: it needs at least 32 bytes",
        "A bearer token is required; send the header Authorization: Bearer <JWT>.",
        "https://dagster.example.com:3000/runs/1?query=a@b",
        "GET /api/campaign-performance/metrics?start_date=2026-03-01: 200",
        "campaign_metrics 2026-03-01: 3 inserted, 0 updated, key=12",
    ],
)
def test_other_text_is_left_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_the_values_of_secret_variables_are_hidden_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "kept-from-everyone")
    monkeypatch.setenv("ENGARDE_ALERT_SLACK_TOKEN", "short")
    redaction._values.cache_clear()
    try:
        assert redact("signed with kept-from-everyone, in short") == "signed with ***, in short"
    finally:
        redaction._values.cache_clear()
