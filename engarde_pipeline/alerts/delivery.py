"""Delivery: each channel gets its messages in order, and one that it does not take is offered again every tick."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from engarde_pipeline.alerts.channels import Send
from engarde_pipeline.alerts.incidents import Incident

logger = logging.getLogger(__name__)

KEPT_FOR = timedelta(days=1)
"""For how long a message waits for its channel: older, it tells nothing that matters, and a list has to end."""


@dataclass(frozen=True)
class Message:
    """What one channel is to be told. `since` is when it was offered first (seconds since 1970)."""

    channel: str
    incident: Incident
    is_over: bool
    since: float


def messages(incident: Incident, is_over: bool, channels: Iterable[str], now: datetime) -> list[Message]:
    """Return one message per channel."""
    return [Message(channel, incident, is_over, now.timestamp()) for channel in channels]


def deliver(channels: Mapping[str, Send], outbox: Iterable[Message], now: datetime) -> list[Message]:
    """Send what is in `outbox`; return what is left, for the next tick.

    A channel that fails is left alone until then, so that it costs a tick no more than its time limit, and stops
    no other. Messages to a channel that is off by now are dropped.
    """
    waiting: list[Message] = []
    broken: set[str] = set()
    for message in outbox:
        if message.channel not in channels:
            continue
        if message.channel not in broken and _sent(channels[message.channel], message, now):
            continue
        broken.add(message.channel)
        if now.timestamp() - message.since < KEPT_FOR.total_seconds():
            waiting.append(message)
        else:
            logger.error("The alert channel %s never took %r", message.channel, message.incident.title)
    return waiting


def _sent(send: Send, message: Message, now: datetime) -> bool:
    try:
        send(message.incident, message.is_over)
    except Exception as error:  # a channel's library may raise anything
        if message.since == now.timestamp():  # said once, not every minute
            # Addresses of webhooks are secrets, and libraries quote them: the kind of the error must do.
            logger.error(  # noqa: TRY400
                "The alert channel %s did not take %r, which is offered again every minute for a day: %s",
                message.channel,
                message.incident.title,
                type(error).__name__,
            )
        return False
    return True
