"""(c) The design this replaces: an ORM object per row, found by a SELECT of its own, a commit every 100 rows;
and totals computed campaign by campaign from the campaign's rows.

It is spared what it could do worse: the campaign's id is at hand, the table starts empty, connections are
kept, and the connection is a unix socket.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Session

from benchmarks import data
from benchmarks.samples import Samples
from benchmarks.world import World, settle
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, CTR, ROAS, Ratio
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.schema import tables

_ROWS_PER_COMMIT = 100


class _Base(DeclarativeBase):
    pass


class _Metric(_Base):
    __table__ = tables.campaign_metrics


class _CampaignSpace(_Base):
    __table__ = tables.campaign_spaces


def measure(world: World, samples: Samples) -> None:
    """Measure one round in a new database: a first load of a sample of rows, then the same rows again."""
    rows = _sample(world)
    with world.database() as url:
        for name in ("first", "nothing"):
            if name != "first":
                with connect(url) as connection:
                    settle(connection)
            label = f"the old design, {name}"
            with world.bars.part(label), samples.rate(f"old.{name}.rate", len(rows)), _session(url) as session:
                _load(session, rows)


def measure_totals(url: str, world: World, samples: Samples, dates: int) -> None:
    """Measure the milliseconds per campaign of the old design's totals, over a history of `dates` dates."""
    ids = world.portfolio.campaign_space_ids[: world.size.old_totals]
    with world.bars.part("the old design, totals"), _session(url) as session:
        started = time.perf_counter()
        for campaign_space_id in ids:
            _total(session, campaign_space_id)
            session.commit()
        samples.add(f"old.totals.ms.{dates}", 1000 * (time.perf_counter() - started) / len(ids))


@contextmanager
def _session(url: str) -> Iterator[Session]:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


def _sample(world: World) -> list[dict[str, Any]]:
    ids = {
        world.portfolio.external_id_of(n): campaign_space_id
        for n, campaign_space_id in enumerate(world.portfolio.campaign_space_ids)
    }
    rows: list[dict[str, Any]] = []
    for day in range(world.size.dates):
        rows += data.source_rows(world.portfolio, day).to_pylist()
        if len(rows) >= world.size.old_rows:
            break
    return [row | {"campaign_space_id": ids[row["campaign_id"]]} for row in rows[: world.size.old_rows]]


def _load(session: Session, rows: list[dict[str, Any]]) -> None:
    run_id = uuid4()
    for number, row in enumerate(rows, start=1):
        found = session.scalars(
            select(_Metric).where(
                tables.campaign_metrics.c.campaign_space_id == row["campaign_space_id"],
                tables.campaign_metrics.c.metric_date == row["metric_date"],
            )
        ).first()
        values = _values(row) | {"bigquery_sync_id": run_id, "synced_from_bigquery_at": datetime.now(UTC)}
        if found is None:
            session.add(_Metric(id=uuid4(), **values))
        else:
            for name, value in values.items():
                setattr(found, name, value)
        if number % _ROWS_PER_COMMIT == 0:
            session.commit()
    session.commit()


def _values(row: dict[str, Any]) -> dict[str, Any]:
    keys = {name: row[name] for name in ("campaign_space_id", "platform", "metric_date")}
    measures = {
        measure.name: Decimal(str(row[measure.name])) if measure.kind == "amount" else row[measure.name]
        for measure in CAMPAIGN_METRICS.measures
    }
    ratios = {ratio.name: _ratio(ratio, measures) for ratio in CAMPAIGN_METRICS.ratios}
    values = {"tenant_id": UUID(row["tenant_id"]), **keys, **measures, **ratios}
    # It computed the ratios; where Postgres does that now, they cannot be given.
    return {name: value for name, value in values.items() if not tables.campaign_metrics.c[name].computed}


def _ratio(ratio: Ratio, measures: dict[str, Decimal]) -> Decimal | None:
    denominator = measures[ratio.denominator]
    return ratio.factor * Decimal(measures[ratio.numerator]) / denominator if denominator else None


def _total(session: Session, campaign_space_id: object) -> None:
    space = session.get_one(_CampaignSpace, campaign_space_id)
    rows = session.scalars(
        select(_Metric).where(tables.campaign_metrics.c.campaign_space_id == campaign_space_id)
    ).all()
    sums = {
        name: sum((Decimal(getattr(row, name)) for row in rows), Decimal(0))
        for name in CAMPAIGN_METRICS.measure_names
    }
    values = {
        **{f"total_{name}": value for name, value in sums.items()},
        "avg_ctr": _ratio(CTR, sums),
        "avg_roas": _ratio(ROAS, sums),
        "performance_last_updated": datetime.now(UTC),
    }
    for name, value in values.items():
        setattr(space, name, value)
