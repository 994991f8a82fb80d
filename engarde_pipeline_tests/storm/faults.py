"""The faults of the storm, each around one sync: what is given to the sync instead of the servers themselves."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from engarde_pipeline.bigquery.extraction import Source
from engarde_pipeline.core.metrics import MetricTable
from engarde_pipeline_tests.bigquery.faulty import HANGS_UP, Answer, refusal, rest_proxy, storage_proxy
from engarde_pipeline_tests.storm.cut import cut_after
from engarde_pipeline_tests.world import World

Servers = tuple[Source, str]
Fault = Callable[[World, MetricTable, int], AbstractContextManager[Servers]]
"""Given the world, the table and a number that says when or how, the source and the database to sync with."""


def _answers(reply: Answer) -> Fault:
    """BigQuery answers one of the first calls with `reply`."""

    @contextmanager
    def fault(world: World, table: MetricTable, number: int) -> Iterator[Servers]:
        upstream = world.settings.bigquery_emulator_host
        assert upstream
        with rest_proxy(upstream) as proxy:
            proxy.fail(("GET ", "POST ", "/queries/")[number % 3], reply, times=1)
            source = Source(
                world.settings.model_copy(
                    update={"bigquery_emulator_host": proxy.url, "bigquery_storage_emulator_host": None}
                )
            )
            yield source, world.database_url
            source.client.close()

    return fault


@contextmanager
def _stream_breaks(world: World, table: MetricTable, number: int) -> Iterator[Servers]:
    upstream = world.settings.bigquery_storage_emulator_host
    assert upstream
    with storage_proxy(upstream) as proxy:
        proxy.break_streams_after = [number % 2]
        source = Source(world.settings.model_copy(update={"bigquery_storage_emulator_host": proxy.address}))
        yield source, world.database_url
        source.client.close()


@contextmanager
def _connection_cut(world: World, table: MetricTable, number: int) -> Iterator[Servers]:
    with cut_after(world.database_url, 400 + number * 20) as address:
        yield world.source, address


def _drifts(there: str, back: str) -> Fault:
    """The source table has another schema."""

    @contextmanager
    def fault(world: World, table: MetricTable, number: int) -> Iterator[Servers]:
        name = f"ALTER TABLE {world.dataset}.{table.source}"
        world.execute(f"{name} {there}")
        try:
            yield world.source, world.database_url
        finally:
            world.execute(f"{name} {back}")

    return fault


def _refuses(code: str, times: int | None = None) -> Fault:
    """Postgres refuses to write a row with an SQLSTATE, so many times."""

    @contextmanager
    def fault(world: World, table: MetricTable, number: int) -> Iterator[Servers]:
        # A sequence counts on where a transaction is rolled back.
        world.connection.execute("CREATE SEQUENCE storms")
        world.connection.execute(
            "CREATE OR REPLACE FUNCTION storm() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF nextval('storms') <= {times or 10**9} THEN"
            f" RAISE EXCEPTION 'the storm' USING ERRCODE = '{code}';"
            " END IF; RETURN coalesce(NEW, OLD); END $$"
        )
        event = ("INSERT", "UPDATE", "DELETE")[number % 3]
        world.connection.execute(
            f"CREATE TRIGGER storm BEFORE {event} ON {table.target} FOR EACH ROW EXECUTE FUNCTION storm()"
        )
        try:
            yield world.source, world.database_url
        finally:
            world.connection.execute(f"DROP TRIGGER storm ON {table.target}")
            world.connection.execute("DROP SEQUENCE storms")

    return fault


FAULTS: dict[str, Fault] = {
    "BigQuery 403": _answers(refusal(403, "accessDenied", "Access Denied")),
    "BigQuery 429": _answers(refusal(429, "rateLimitExceeded", "Exceeded rate limits")),
    "BigQuery 500": _answers(refusal(500, "backendError", "Error encountered during execution")),
    "BigQuery 503": _answers(refusal(503, "backendError", "Try again")),
    "BigQuery hangs up": _answers(HANGS_UP),
    "BigQuery truncates its answer": _answers(Answer(200, b'{"kind": "bigq')),
    "a column is gone": _drifts("RENAME COLUMN clicks TO klicks", "RENAME COLUMN klicks TO clicks"),
    "a column is new": _drifts("ADD COLUMN reach INT64", "DROP COLUMN reach"),
    "a stream of rows breaks": _stream_breaks,
    "connection to Postgres cut": _connection_cut,
    "serialization failure": _refuses("40001", times=1),
    "deadlock": _refuses("40P01", times=2),
    "disk full": _refuses("53100"),
    "Postgres shuts down": _refuses("57P01"),
    "statement timeout": _refuses("57014"),
}
