"""Delivery of messages: in order per channel; a message that fails is sent again at every tick."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from engarde_pipeline.alerts.channels import Send, failure_reason
from engarde_pipeline.alerts.incidents import Incident

logger = logging.getLogger(__name__)

RETRY_PERIOD = timedelta(days=1)
"""How long a message is sent again before it is dropped."""


@dataclass(frozen=True)
class Message:
    """A message for one channel. `since` is the time of the first attempt to send it (seconds since 1970)."""

    channel: str
    incident: Incident
    is_over: bool
    since: float


def messages(incident: Incident, is_over: bool, channels: Iterable[str], now: datetime) -> list[Message]:
    """Return one message per channel."""
    return [Message(channel, incident, is_over, now.timestamp()) for channel in channels]


def deliver(channels: Mapping[str, Send], outbox: Iterable[Message], now: datetime) -> list[Message]:
    """Send the messages in `outbox`; return those to send again at the next tick.

    After a failure, the channel's other messages are not sent in this tick, so that it delays the other channels
    by one time limit at most. Messages for a channel that is no longer enabled are dropped.
    """
    waiting: list[Message] = []
    broken: set[str] = set()
    for message in outbox:
        if message.channel not in channels:
            continue
        if message.channel not in broken and _sent(channels[message.channel], message, now):
            continue
        broken.add(message.channel)
        if now.timestamp() - message.since < RETRY_PERIOD.total_seconds():
            waiting.append(message)
        else:
            logger.error(
                "The alert %r could not be sent through %s for a day and is dropped.",
                message.incident.title,
                message.channel,
            )
    return waiting


def _sent(send: Send, message: Message, now: datetime) -> bool:
    try:
        send(message.incident, message.is_over)
    except Exception as error:  # a channel's library may raise anything
        if message.since == now.timestamp():  # logged once, not every minute
            # No traceback: it may contain the address of a webhook, which is a secret.
            logger.error(  # noqa: TRY400
                "The alert %r could not be sent through %s (%s). It is sent again every minute for a day.",
                message.incident.title,
                message.channel,
                failure_reason(error),
            )
        return False
    return True
