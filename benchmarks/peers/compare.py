"""Compares what a program left in its table with the source, row by row."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_postgresql import dbapi

from benchmarks.peers.peer import KEY
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, METRIC_DATE


class WrongRows(Exception):
    """A program left other rows than the source has, so its time means nothing."""


def check(url: str, table: str, source: pa.Table, label: str) -> None:
    """Compare the keys and measures of `table` with those of `source`.

    Raises:
        WrongRows: they differ; the message has the first row that does.
    """
    measures = ", ".join(f"{name}::float8 AS {name}" for name in CAMPAIGN_METRICS.measure_names)
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT campaign_space_id::text, {METRIC_DATE}, {measures} FROM {table}")
        loaded = _comparable(cursor.fetch_arrow_table())
    expected = _comparable(source)
    if loaded.num_rows != expected.num_rows:
        raise WrongRows(f"{label} left {loaded.num_rows:,} rows; the source has {expected.num_rows:,}.")
    for name in expected.column_names:
        same = pc.fill_null(pc.equal(loaded[name], expected[name]), False)
        if not pc.all(same).as_py():
            row = pc.index(same, False).as_py()
            found, wanted = _row(loaded, row), _row(expected, row)
            raise WrongRows(f"{label}: {name} is wrong in {found}; the source has {wanted}.")


def _comparable(rows: pa.Table) -> pa.Table:
    # A double is exact here: amounts have six decimals and far fewer than fifteen digits.
    columns = {
        "campaign_space_id": rows["campaign_space_id"].cast(pa.string()),
        METRIC_DATE: rows[METRIC_DATE],
        **{name: rows[name].cast(pa.float64()) for name in CAMPAIGN_METRICS.measure_names},
    }
    return pa.table(columns).sort_by([(name, "ascending") for name in KEY])


def _row(rows: pa.Table, number: int) -> dict[str, Any]:
    return dict(rows.slice(number, 1).to_pylist()[0])
