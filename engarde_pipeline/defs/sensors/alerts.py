"""alerts: every minute, what is wrong now beside what was wrong before; an incident is told once, and its end."""

import json
import logging
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from dagster import DagsterInstance, DefaultSensorStatus, SensorEvaluationContext, SensorResult, sensor
from pydantic import TypeAdapter, ValidationError

from engarde_pipeline.alerts.channels import configured_channels
from engarde_pipeline.alerts.conditions import (
    budget_nearly_used,
    failed_in_a_row,
    many_rejected,
    running_long,
)
from engarde_pipeline.alerts.delivery import Message, deliver, messages
from engarde_pipeline.alerts.freshness import LOOK_EVERY, due_since, freshness_lost
from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.settings import load_pipeline_settings

logger = logging.getLogger(__name__)


@dataclass
class Known:
    """What is known between two ticks: the open incidents, since when which dates have been due, and what waits
    for a channel that was down."""

    incidents: dict[str, Incident] = field(default_factory=dict)
    due_since: dict[str, float] = field(default_factory=dict)
    looked_at: float = 0
    waiting: list[Message] = field(default_factory=list)

    @classmethod
    def read(cls, text: str | None) -> "Known":
        """Return what `write` gave; nothing is known where that cannot be read."""
        if not text:
            return cls()
        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:  # of another version of the code, or edited by hand
            logger.warning(
                "The cursor of alerts cannot be read (%d faults): open incidents are told once more, and how long"
                " dates have been due counts from now.",
                error.error_count(),
            )
            return cls()

    def write(self) -> str:
        """Return it as a cursor."""
        return json.dumps(asdict(self))


@sensor(
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Tell on-call, once per incident and when it is over: three failed syncs in a row, a sync longer"
    " than ten minutes, more than 5 % rejected, 80 % of the byte budget, an hour behind BigQuery.",
)
def alerts(context: SensorEvaluationContext, bigquery: BigQuery, postgres: Postgres) -> SensorResult:
    """Compare the incidents of now with those known, and tell the difference."""
    now = datetime.now(UTC)
    known = Known.read(context.cursor)
    if now.timestamp() - known.looked_at >= LOOK_EVERY.total_seconds():
        known.due_since = due_since(context.instance, bigquery.open_source, postgres.connect, known.due_since, now)
        known.looked_at = now.timestamp()
    found = current_incidents(context.instance, postgres, known, now)
    channels = configured_channels(load_pipeline_settings())
    told = []
    outbox = known.waiting
    for key in found.keys() - known.incidents.keys():
        outbox += messages(found[key], False, channels, now)
        told.append(found[key].title)
    for key in known.incidents.keys() - found.keys():
        outbox += messages(known.incidents[key], True, channels, now)
        told.append(f"over: {known.incidents[key].title}")
    known.incidents = found
    known.waiting = deliver(channels, outbox, now)
    words = f"Told: {'; '.join(told)}." if told else f"Nothing new; {len(found)} incidents are open."
    if down := sorted({message.channel for message in known.waiting}):
        words += f" {len(known.waiting)} messages wait for {', '.join(down)}."
    return SensorResult(skip_reason=words, cursor=known.write())


def current_incidents(
    instance: DagsterInstance, postgres: Postgres, known: Known, now: datetime
) -> dict[str, Incident]:
    """Return the incidents there are now, by key; without Postgres, the budget's state is the last one known."""
    found = [
        *failed_in_a_row(instance),
        *running_long(instance, now),
        *many_rejected(instance),
        *freshness_lost(known.due_since, now),
    ]
    try:
        with postgres.connect() as connection:
            found += budget_nearly_used(connection, load_pipeline_settings().engarde_daily_bytes)
    except EngardeError:
        found += [incident for incident in known.incidents.values() if incident.key == "budget"]
    return {incident.key: incident for incident in found}
