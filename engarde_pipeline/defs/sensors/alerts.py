"""The sensor `alerts`: reports each incident once when it begins and once when it is over."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import psycopg
from dagster import DagsterInstance, DefaultSensorStatus, SensorEvaluationContext, SensorResult, sensor
from pydantic import Field

from engarde_pipeline.alerts.channels import LOG, configured_channels
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
from engarde_pipeline.alerts.outages import PLAN, Outage, outages, read_errors, unreadable
from engarde_pipeline.core.errors import EngardeError
from engarde_pipeline.core.plurals import counted
from engarde_pipeline.defs.cursor import Cursor
from engarde_pipeline.defs.resources import BigQuery, Postgres
from engarde_pipeline.postgres.faults import message_of
from engarde_pipeline.settings import load_pipeline_settings

_FROM_POSTGRES = ("budget", "held", "rejected")
"""The beginnings of the keys of incidents that are found in Postgres."""


class AlertState(Cursor):
    """The open incidents, outages and due dates, since when, and the messages that wait for their channels.

    `channels` are those that notify people: the monitoring outside of Dagster is silent about what these report.
    """

    sensor = "alerts"
    if_unreadable = (
        "Open incidents are reported once more, and the time for which dates have been due is counted from now."
    )

    version: Literal[1] = 1
    evaluated_at: float = 0
    incidents: dict[str, Incident] = Field(default_factory=dict)
    opened_at: dict[str, float] = Field(default_factory=dict)
    outages: dict[str, Outage] = Field(default_factory=dict)
    due_since: dict[str, float] = Field(default_factory=dict)
    checked_at: float = 0
    waiting: list[Message] = Field(default_factory=list)
    channels: list[str] = Field(default_factory=list)


@sensor(
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Alert on-call once per incident, and again when it is over: BigQuery or Postgres unreadable for"
    " five minutes, three failed syncs in a row, a sync that takes more than ten minutes, more than 5 % of records"
    " rejected, dates held because their loads look wrong, 80 % of the daily byte budget used, Postgres more than"
    " an hour behind BigQuery.",
)
def alerts(context: SensorEvaluationContext, bigquery: BigQuery, postgres: Postgres) -> SensorResult:
    """Report the incidents that began or ended since the last tick.

    The tick does not fail if BigQuery or Postgres cannot be read: that is an incident to report.
    """
    now = datetime.now(UTC)
    state = AlertState.read(context.cursor)
    _look(context.instance, bigquery, postgres, state, now)
    found = current_incidents(context.instance, postgres, state, now)
    channels = configured_channels(load_pipeline_settings())
    reported = []
    outbox = state.waiting
    for key, incident in found.items():
        if incident.is_news_after(state.incidents.get(key)):
            outbox += messages(incident, False, channels, now)
            reported.append(incident.title)
    for key in state.incidents.keys() - found.keys():
        outbox += messages(state.incidents[key], True, channels, now)
        reported.append(f"over: {state.incidents[key].title}")
    state.incidents = found
    state.opened_at = {key: state.opened_at.get(key, now.timestamp()) for key in found}
    state.evaluated_at = now.timestamp()
    state.channels = sorted(channels.keys() - {LOG})
    state.waiting = deliver(channels, outbox, now)
    summary = f"Reported: {'; '.join(reported)}." if reported else f"Nothing new; {_open(len(found))}."
    if down := sorted({message.channel for message in state.waiting}):
        waiting = len(state.waiting)
        summary += f" {counted(waiting, 'message')} {'waits' if waiting == 1 else 'wait'} for {', '.join(down)}."
    return SensorResult(skip_reason=summary, cursor=state.write())


def _look(
    instance: DagsterInstance, bigquery: BigQuery, postgres: Postgres, state: AlertState, now: datetime
) -> None:
    """Note in `state` what cannot be read and, every ten minutes or after an error, what is due."""
    errors = read_errors(bigquery.open_source, postgres.connect)
    is_due = now.timestamp() - state.checked_at >= CHECK_INTERVAL.total_seconds()
    if not errors and (is_due or PLAN in state.outages):
        try:
            with postgres.connect() as connection:
                source = bigquery.open_source()
                state.due_since = due_since(instance, source, connection, state.due_since, now)
            state.checked_at = now.timestamp()
        except (EngardeError, psycopg.Error) as error:
            errors[PLAN] = message_of(error)
    state.outages = outages(errors, state.outages, now)


def current_incidents(
    instance: DagsterInstance, postgres: Postgres, state: AlertState, now: datetime
) -> dict[str, Incident]:
    """Return the current incidents by key; without Postgres, what was last known of it is kept."""
    found = [
        *unreadable(state.outages, now),
        *failed_in_a_row(instance),
        *running_long(instance, now),
        *freshness_lost(state.due_since, state.outages, now),
    ]
    known = [incident for key, incident in state.incidents.items() if key.startswith(_FROM_POSTGRES)]
    try:
        found += known if "Postgres" in state.outages else _found_in_postgres(instance, postgres)
    except (EngardeError, psycopg.OperationalError):
        found += known
    return {incident.key: incident for incident in found}


def _found_in_postgres(instance: DagsterInstance, postgres: Postgres) -> list[Incident]:
    with postgres.connect() as connection:
        return [
            *budget_nearly_used(connection, load_pipeline_settings().engarde_daily_bytes),
            *dates_held(connection),
            *many_rejected(instance, connection),
        ]


def _open(number: int) -> str:
    return f"{counted(number, 'incident')} {'is' if number == 1 else 'are'} open"


def stored_states(instance: DagsterInstance) -> Iterator[AlertState]:
    """Yield the state that the sensor left at its last tick, once for each code location in which it has run."""
    for stored in instance.all_instigator_state():
        if stored.instigator_type.value == "SENSOR" and stored.name == alerts.name and stored.instigator_data:
            cursor = getattr(stored.instigator_data, "cursor", None)
            state = AlertState.read(cursor)
            if state.evaluated_at:
                yield state
