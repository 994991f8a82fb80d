"""The channels for alerts. A channel is enabled by its settings, and imports its library when it is used."""

import logging
import smtplib
import socket
import ssl
from collections.abc import Callable
from dataclasses import asdict
from email.message import EmailMessage
from html import escape
from urllib.parse import unquote, urlsplit

from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.settings import PipelineSettings

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5
"""The time limit of one channel; all channels together must fit into a sensor tick of one minute."""

LOG = "log"
"""The channel that is always enabled, and notifies nobody."""

Send = Callable[[Incident, bool], None]
"""Sends a message about an incident; the second argument is True when the incident is over."""


def configured_channels(settings: PipelineSettings) -> dict[str, Send]:
    """Return the enabled channels by name; the log is always enabled."""
    url = settings.engarde_dagster_url
    channels: dict[str, Send] = {LOG: lambda incident, is_over: _log(incident, is_over, url)}
    if webhook := settings.engarde_alert_webhook_url:
        channels["webhook"] = lambda i, over: _post(webhook.get_secret_value(), i, over, url)
    if slack := settings.engarde_alert_slack_url:
        channels["slack"] = lambda i, over: _slack(slack.get_secret_value(), i, over, url)
    if key := settings.engarde_alert_pagerduty_key:
        channels["pagerduty"] = lambda i, over: _pagerduty(
            key.get_secret_value(), settings.engarde_alert_pagerduty_url, i, over, url
        )
    server, recipients = settings.engarde_alert_smtp_url, settings.engarde_alert_email_to
    if server and recipients:
        sender, address = settings.engarde_alert_email_from, server.get_secret_value()
        channels["e-mail"] = lambda i, over: _mail(address, sender, recipients, i, over, url)
    return channels


def failure_reason(error: Exception) -> str:
    """Return why a channel did not accept a message, without its address, which can be a secret."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"the server responded with HTTP status {status}"
    if isinstance(error, smtplib.SMTPResponseException):
        text = (
            error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        )
        return f"the mail server responded with {error.smtp_code}: {text}"
    cause: BaseException = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    # Messages of other errors can contain the address.
    is_safe = isinstance(
        cause, (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError, smtplib.SMTPException)
    )
    return f"{type(cause).__name__}: {cause}" if is_safe else type(cause).__name__


def _headline(incident: Incident, is_over: bool) -> str:
    return f"Over: {incident.title}" if is_over else incident.title


def _log(incident: Incident, is_over: bool, dagster_url: str) -> None:
    level = logging.INFO if is_over else logging.ERROR
    logger.log(level, "%s\n%s", _headline(incident, is_over), incident.text(dagster_url))


def _post(address: str, incident: Incident, is_over: bool, dagster_url: str) -> None:
    import requests

    document = {
        **asdict(incident),
        "state": "over" if is_over else "open",
        "link": incident.link(dagster_url),
        "text": incident.text(dagster_url),
    }
    requests.post(address, json=document, timeout=TIMEOUT_SECONDS).raise_for_status()


def _slack(address: str, incident: Incident, is_over: bool, dagster_url: str) -> None:
    from slack_sdk.webhook import WebhookClient

    symbol = ":white_check_mark:" if is_over else ":rotating_light:"
    # Slack requires &, < and > to be escaped; otherwise an error message could contain <!channel>.
    headline, details = (
        escape(text, quote=False) for text in (_headline(incident, is_over), incident.text(dagster_url))
    )
    text = f"{symbol} *{headline}*\n{details}"
    response = WebhookClient(address, timeout=TIMEOUT_SECONDS).send(text=text)
    if response.status_code != 200:
        raise ConnectionError(f"Slack responded with status {response.status_code}")


def _pagerduty(key: str, address: str, incident: Incident, is_over: bool, dagster_url: str) -> None:
    from pagerduty import EventsApiV2Client

    client = EventsApiV2Client(key, base_url=address)
    client.timeout = TIMEOUT_SECONDS
    client.max_network_attempts = 1  # the next tick tries again
    if is_over:
        client.resolve(incident.key)
    else:
        client.trigger(
            incident.title,
            "engarde_pipeline",
            dedup_key=incident.key,
            severity="error",
            custom_details={"text": incident.text(dagster_url)},
            links=[{"href": incident.link(dagster_url), "text": "Dagster"}],
        )


def _mail(server: str, sender: str, recipients: str, incident: Incident, is_over: bool, dagster_url: str) -> None:
    address = urlsplit(server)
    message = EmailMessage()
    message["Subject"] = f"[engarde] {_headline(incident, is_over)}"
    message["From"] = sender
    message["To"] = recipients
    message.set_content(incident.text(dagster_url))
    with smtplib.SMTP(address.hostname or "", address.port or 25, timeout=TIMEOUT_SECONDS) as smtp:
        smtp.ehlo()
        if smtp.has_extn("starttls"):
            smtp.starttls(context=ssl.create_default_context())
        if address.username:
            smtp.login(unquote(address.username), unquote(address.password or ""))
        smtp.send_message(message)
