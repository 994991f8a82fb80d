"""The sensor `alerts`: reports each incident once when it begins and once when it is over."""

from datetime import UTC, datetime
from typing import Literal

from dagster import DagsterInstance, DefaultSensorStatus, SensorEvaluationContext, SensorResult, sensor
from pydantic import Field

from engarde_pipeline.alerts.channels import configured_channels
from engarde_pipeline.alerts.conditions import (
    budget_nearly_used,
    dates_held,
    failed_in_a_row,
    many_rejected,
    running_long,
)
from engarde_pipeline.alerts.delivery import Message, deliver, messages
from engarde_pipeline.alerts.freshness import CHECK_INTERVAL, due_since, freshness_lost
from engarde_pipeline.alerts.incidents import Incident
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.defs.cursor import Cursor
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.settings import load_pipeline_settings


class AlertState(Cursor):
    """The open incidents, when dates became due, and the messages that no channel has accepted yet."""

    sensor = "alerts"
    if_unreadable = (
        "Open incidents are reported once more, and the time for which dates have been due is counted from now."
    )

    version: Literal[1] = 1
    incidents: dict[str, Incident] = Field(default_factory=dict)
    due_since: dict[str, float] = Field(default_factory=dict)
    checked_at: float = 0
    waiting: list[Message] = Field(default_factory=list)


@sensor(
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Alert on-call once per incident, and again when it is over: three failed syncs in a row, a sync"
    " that takes more than ten minutes, more than 5 % of records rejected, dates held because their loads look"
    " wrong, 80 % of the daily byte budget used, Postgres more than an hour behind BigQuery.",
)
def alerts(context: SensorEvaluationContext, bigquery: BigQuery, postgres: Postgres) -> SensorResult:
    """Report the incidents that began or ended since the last tick."""
    now = datetime.now(UTC)
    state = AlertState.read(context.cursor)
    if now.timestamp() - state.checked_at >= CHECK_INTERVAL.total_seconds():
        state.due_since = due_since(context.instance, bigquery.open_source, postgres.connect, state.due_since, now)
        state.checked_at = now.timestamp()
    found = current_incidents(context.instance, postgres, state, now)
    channels = configured_channels(load_pipeline_settings())
    reported = []
    outbox = state.waiting
    for key in found.keys() - state.incidents.keys():
        outbox += messages(found[key], False, channels, now)
        reported.append(found[key].title)
    for key in state.incidents.keys() - found.keys():
        outbox += messages(state.incidents[key], True, channels, now)
        reported.append(f"over: {state.incidents[key].title}")
    state.incidents = found
    state.waiting = deliver(channels, outbox, now)
    summary = f"Reported: {'; '.join(reported)}." if reported else f"Nothing new; {len(found)} incidents are open."
    if down := sorted({message.channel for message in state.waiting}):
        summary += f" {len(state.waiting)} messages wait for {', '.join(down)}."
    return SensorResult(skip_reason=summary, cursor=state.write())


def current_incidents(
    instance: DagsterInstance, postgres: Postgres, state: AlertState, now: datetime
) -> dict[str, Incident]:
    """Return the current incidents by key; without Postgres, what was last known of it is kept."""
    found = [
        *failed_in_a_row(instance),
        *running_long(instance, now),
        *many_rejected(instance),
        *freshness_lost(state.due_since, now),
    ]
    try:
        with postgres.connect() as connection:
            found += budget_nearly_used(connection, load_pipeline_settings().engarde_daily_bytes)
            found += dates_held(connection)
    except EngardeError:
        found += [incident for incident in state.incidents.values() if incident.key.startswith(("budget", "held"))]
    return {incident.key: incident for incident in found}
