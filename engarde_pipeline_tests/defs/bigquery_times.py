"""What the emulator lacks: a table's and its partitions' times, supplied at the wire by the tests' proxy."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from urllib.parse import unquote

from engarde_pipeline_tests.bigquery.faulty import Answer, Proxy, Request
from engarde_pipeline_tests.world import PROJECT

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Times:
    """BigQuery's clock for one dataset: `touch` says that a partition, and so its table, changed."""

    proxy: Proxy
    dataset: str
    touched: dict[str, dict[date, int]] = field(default_factory=dict)
    buffered: dict[str, int] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        tables = f"/datasets/{self.dataset}/tables/"
        self.proxy.fail(f"GET /bigquery/v2/projects/{PROJECT}{tables}", self._table)
        self.proxy.fail(f"GET /bigquery/v2/projects/{PROJECT}/queries/", self._results)

    def touch(self, table: str, *days: date) -> None:
        """Let these partitions be changed now."""
        self._count += 1
        self.touched.setdefault(table, {}).update(dict.fromkeys(days, self._count))

    def partition_queries(self) -> int:
        """Return how often partition metadata were asked for."""
        return len([r for r in self.proxy.requests if b"INFORMATION_SCHEMA.PARTITIONS" in r.body])

    def _table(self, request: Request) -> Answer | None:
        found = self.proxy.pass_on(request)
        if found.body is None:
            return found
        document = json.loads(found.body)
        name = unquote(request.path).split("/tables/")[1].split("?")[0]
        if found.status != 200 or name not in self.touched:
            return found
        latest = max(self.touched[name].values())
        document |= {"lastModifiedTime": str(_milliseconds(latest)), "numRows": str(latest), "numBytes": "1"}
        if self.buffered.get(name):
            document["streamingBuffer"] = {"estimatedRows": str(self.buffered[name]), "estimatedBytes": "1"}
        return replace(found, body=json.dumps(document).encode())

    def _results(self, request: Request) -> Answer | None:
        found = self.proxy.pass_on(request)
        if found.body is None:
            return found
        document = json.loads(found.body)
        names = [column["name"] for column in document.get("schema", {}).get("fields", [])]
        if "partition_id" not in names:
            return found
        job = unquote(request.path).split("/queries/")[1].split("?")[0]
        # Many runs ask at once, each for the partitions of a table of its own.
        (asked,) = (
            r
            for r in self.proxy.requests
            if b"INFORMATION_SCHEMA.PARTITIONS" in r.body and r.json["jobReference"]["jobId"] == job
        )
        (parameter,) = asked.json["configuration"]["query"]["queryParameters"]
        touched = self.touched.get(parameter["parameterValue"]["value"], {})
        by_id = {f"{day:%Y%m%d}": count for day, count in touched.items()}
        for row in document.get("rows", []):
            values = row["f"]
            if count := by_id.get(values[names.index("partition_id")]["v"]):
                values[names.index("modified")]["v"] = str(_milliseconds(count) * 1000)
        return replace(found, body=json.dumps(document).encode())


def _milliseconds(count: int) -> int:
    return int(_EPOCH.timestamp() * 1000) + count * 60_000
