"""What the Dagster UI shows of the checks of an asset, asked in the way in which it asks."""

import json
import sys
from contextvars import Context
from datetime import date, timedelta
from typing import Any

from dagster import DagsterInstance
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_graphql.test.utils import execute_dagster_graphql

_STATUSES = """
query Statuses($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) {
    ... on AssetNode {
      assetChecksOrError {
        ... on AssetChecks {
          checks {
            name
            partitionStatuses {
              ... on AssetCheckTimePartitionStatuses { ranges { startKey endKey status } }
            }
          }
        }
      }
    }
  }
}
"""

_EXECUTIONS = """
query Executions($asset: AssetKeyInput!, $check: String!, $day: String!) {
  assetCheckExecutions(assetKey: $asset, checkName: $check, partition: $day, limit: 1) {
    status
    evaluation {
      description
      severity
      metadataEntries {
        label
        ... on TextMetadataEntry { text }
        ... on IntMetadataEntry { intValue }
        ... on FloatMetadataEntry { floatValue }
        ... on TableMetadataEntry { table { records } }
      }
    }
  }
}
"""


def checked_dates(instance: DagsterInstance, asset: str = "campaign_metrics") -> dict[str, dict[date, str]]:
    """Return, for each check of an asset, the dates that have a result, each with its status."""
    node = _ask(instance, _STATUSES, asset=asset)["assetNodeOrError"]
    return {
        check["name"]: {
            day: span["status"]
            for span in check["partitionStatuses"]["ranges"]
            for day in _days(date.fromisoformat(span["startKey"]), date.fromisoformat(span["endKey"]))
        }
        for check in node["assetChecksOrError"]["checks"]
    }


def last_result(
    instance: DagsterInstance, check: str, day: date, asset: str = "campaign_metrics"
) -> dict[str, Any]:
    """Return what the page of a check shows for a date: description, severity and metadata."""
    (execution,) = _ask(instance, _EXECUTIONS, asset=asset, check=check, day=str(day))["assetCheckExecutions"]
    entries = {entry.pop("label"): entry for entry in execution["evaluation"]["metadataEntries"]}
    return {**execution["evaluation"], "metadata": {label: _value(entry) for label, entry in entries.items()}}


def _ask(instance: DagsterInstance, query: str, asset: str, **variables: str) -> dict[str, Any]:
    # A context of its own, because contexts that Dagster built for sensors and schedules may have left theirs.
    return Context().run(_answer, instance, query, {"asset": {"path": [asset]}, **variables})


def _answer(instance: DagsterInstance, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name="engarde_pipeline.definitions")
    origin = InProcessCodeLocationOrigin(target, location_name="engarde_pipeline")
    with WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as workspace:
        answer = execute_dagster_graphql(workspace.create_request_context(), query, variables)
    assert not answer.errors
    return dict(answer.data)


def _days(start: date, end: date) -> list[date]:
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def _value(entry: dict[str, Any]) -> Any:
    (value,) = entry.values()
    return [json.loads(record) for record in value["records"]] if isinstance(value, dict) else value
