"""Each channel says the same to a server that speaks its protocol; a broken one keeps no other from it."""

import logging
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from engarde_pipeline.alerts.channels import configured_channels
from engarde_pipeline.alerts.delivery import RETRY_PERIOD, Message, deliver, messages
from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.settings import load_pipeline_settings
from engarde_pipeline_tests.alerts.receiver import Receiver, running_receiver

INCIDENT = Incident(
    key="failed in a row",
    title="The last 3 syncs failed",
    reason="No column spend.",
    what_to_do="Correct the table.",
    job="performance_sync",
    dates="2026-03-01 .. 2026-03-02",
    run_id="5e1f",
)
SAID = ("No column spend.", "performance_sync", "2026-03-01 .. 2026-03-02", "Correct the table.", "/runs/5e1f")


@pytest.fixture
def server() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def secure_server(server: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """The server behind TLS, which PagerDuty's client insists on, with a certificate this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    server.url = f"https://localhost:{server.http.server_port}"
    return server


class _Mailbox(MessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.mails.append(message)


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _tell(is_over: bool = False) -> list[str]:
    """Tell all channels; return those that did not take it."""
    channels = configured_channels(load_pipeline_settings())
    return [message.channel for message in deliver(channels, messages(INCIDENT, is_over, channels, NOW), NOW)]


def _deliver(outbox: list[Message], minutes: int) -> list[Message]:
    return deliver(configured_channels(load_pipeline_settings()), outbox, NOW + timedelta(minutes=minutes))


def test_only_the_log_is_on_until_something_is_configured(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="engarde_pipeline"):
        assert _tell() == []
    assert list(configured_channels(load_pipeline_settings())) == ["log"]
    assert all(said in caplog.text for said in (INCIDENT.title, *SAID))


def test_a_webhook_gets_the_incident_as_json(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGARDE_ALERT_WEBHOOK_URL", f"{server.url}/hook")
    assert _tell() == []
    assert _tell(is_over=True) == []
    (_, opened), (_, over) = server.received
    assert (opened["state"], over["state"]) == ("open", "over")
    assert opened["key"] == INCIDENT.key
    assert all(said in opened["text"] for said in SAID)


def test_slack_gets_the_incident_and_its_end(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGARDE_ALERT_SLACK_URL", f"{server.url}/services/T/B/secret")
    assert _tell() == []
    assert _tell(is_over=True) == []
    (path, opened), (_, over) = server.received
    assert path == "/services/T/B/secret"
    assert all(said in opened["text"] for said in (INCIDENT.title, *SAID))
    assert f"Over: {INCIDENT.title}" in over["text"]


def test_words_from_elsewhere_call_nobody_on_slack(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGARDE_ALERT_SLACK_URL", f"{server.url}/services/T/B/secret")
    channels = configured_channels(load_pipeline_settings())
    hostile = replace(INCIDENT, reason="Table <!channel> & <https://evil.example|click>")

    channels["slack"](hostile, False)

    ((_, told),) = server.received
    assert "Table &lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;" in told["text"]


def test_pagerduty_opens_one_incident_and_resolves_it(
    secure_server: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGARDE_ALERT_PAGERDUTY_KEY", "r" * 32)
    monkeypatch.setenv("ENGARDE_ALERT_PAGERDUTY_URL", secure_server.url)
    assert _tell() == []
    assert _tell(is_over=True) == []
    (path, opened), (_, over) = secure_server.received
    assert path == "/v2/enqueue"
    assert (opened["event_action"], over["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == over["dedup_key"] == INCIDENT.key
    assert opened["payload"]["summary"] == INCIDENT.title
    assert all(said in opened["payload"]["custom_details"]["text"] for said in SAID)


def test_a_mail_is_sent_to_everybody_named(monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = _Mailbox()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    smtp = Controller(mailbox, hostname="127.0.0.1", port=port)
    smtp.start()
    try:
        monkeypatch.setenv("ENGARDE_ALERT_SMTP_URL", f"smtp://127.0.0.1:{port}")
        monkeypatch.setenv("ENGARDE_ALERT_EMAIL_TO", "ann@example.com, bob@example.com")
        assert _tell() == []
    finally:
        smtp.stop()
    (mail,) = mailbox.mails
    assert mail["Subject"] == f"[engarde] {INCIDENT.title}"
    assert mail["X-RcptTo"] == "ann@example.com, bob@example.com"
    assert all(said in mail.get_payload() for said in SAID)


def test_a_broken_channel_keeps_no_other_from_the_alert_and_its_secret_to_itself(
    server: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ENGARDE_ALERT_WEBHOOK_URL", "http://127.0.0.1:9/secret-token")
    monkeypatch.setenv("ENGARDE_ALERT_SMTP_URL", "smtp://user:secret-password@127.0.0.1:9")
    monkeypatch.setenv("ENGARDE_ALERT_EMAIL_TO", "ann@example.com")
    monkeypatch.setenv("ENGARDE_ALERT_SLACK_URL", f"{server.url}/slack")
    assert _tell() == ["webhook", "e-mail"]
    assert len(server.received) == 1
    assert "could not be sent" in caplog.text
    assert "secret" not in caplog.text


def test_slack_saying_no_counts_as_broken(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    server.status = 404
    monkeypatch.setenv("ENGARDE_ALERT_SLACK_URL", f"{server.url}/gone")
    assert _tell() == ["slack"]


@pytest.fixture
def down(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """An incident and its end, which a webhook that is down did not take."""
    monkeypatch.setenv("ENGARDE_ALERT_WEBHOOK_URL", f"{server.url}/hook")
    server.status = 503
    return _deliver([m for is_over in (False, True) for m in messages(INCIDENT, is_over, ["webhook"], NOW)], 0)


def test_what_a_channel_did_not_take_is_told_in_order_once_it_is_up(server: Receiver, down: list[Message]) -> None:
    server.received.clear()
    server.status = 200
    assert _deliver(down, 1) == []
    assert [body["state"] for _, body in server.received] == ["open", "over"]


def test_a_channel_that_is_down_is_asked_once_a_tick(server: Receiver, down: list[Message]) -> None:
    server.received.clear()
    assert _deliver(down, 1) == down
    assert len(server.received) == 1


def test_a_channel_that_stays_down_is_in_the_log_once(
    server: Receiver, down: list[Message], caplog: pytest.LogCaptureFixture
) -> None:
    _deliver(down, 1)
    said = [record.getMessage() for phase in ("setup", "call") for record in caplog.get_records(phase)]
    assert len([line for line in said if "could not be sent" in line]) == 1


def test_a_message_that_a_channel_has_not_taken_for_a_day_is_given_up_and_the_log_says_so(
    server: Receiver, down: list[Message], caplog: pytest.LogCaptureFixture
) -> None:
    assert _deliver(down, int(RETRY_PERIOD.total_seconds()) // 60) == []
    assert "could not be sent through webhook for a day and is dropped" in caplog.text


def test_nothing_waits_for_a_channel_that_was_switched_off(
    down: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENGARDE_ALERT_WEBHOOK_URL")
    assert _deliver(down, 1) == []
