"""A database that is not in UTF-8: ids that it can hold are loaded, others rejected with a reason of their own."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from engarde_pipeline.core.metrics import RejectReason
from engarde_pipeline.local.bigquery import Emulator
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.scope import UnknownSlice, resolve_scope
from engarde_pipeline.postgres.reads.diagnosis import check_session
from engarde_pipeline.postgres.schema import migrate
from engarde_pipeline_tests.conftest import _database
from engarde_pipeline_tests.sync.samples import DAY, row
from engarde_pipeline_tests.world import World


@pytest.fixture(params=["LATIN1", "WIN1252", "SQL_ASCII"])
def encoded(request: pytest.FixtureRequest, postgres_server: str, emulator: Emulator) -> Iterator[World]:
    """A world whose database has another encoding."""
    name = f"test_{uuid4().hex}"
    with connect(postgres_server) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{request.param}' TEMPLATE template0 LOCALE_PROVIDER libc"
            " LC_COLLATE 'C' LC_CTYPE 'C'".encode()
        )
        url = _database(postgres_server, name)
        migrate.upgrade(url)
        world = World(url, emulator)
        yield world
        world.close()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_what_the_database_cannot_hold_is_rejected_and_the_rest_is_loaded(encoded: World) -> None:
    tenant = encoded.tenant("Café")
    encoded.campaign(tenant, "café")
    encoded.campaign(tenant, "yen")
    encoded.create_source(currency="STRING")
    rows = [row(tenant, "café"), row(tenant, "日本é"), row(tenant, "a\x00é"), row(tenant, "plain")]
    encoded.load([*rows, row(tenant, "yen", currency="日\x00")])

    encoded.sync_one(DAY)

    (loaded,) = encoded.query(
        "SELECT external_campaign_id FROM campaign_metrics m JOIN campaign_spaces c ON c.id = m.campaign_space_id"
    )
    assert loaded["external_campaign_id"] == "café"
    rejected = {found["keys"]["campaign_id"]: found["reason_code"] for found in encoded.rejected()}
    if encoded.connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        other = {"日本é": RejectReason.CAMPAIGN_NOT_MAPPED}
        assert "SQL_ASCII" in check_session(encoded.database_url)
    else:
        other = {"\\u65e5\\u672cé": RejectReason.NOT_REPRESENTABLE}
    assert rejected == {
        **other,
        "a\\u0000é": RejectReason.MALFORMED_KEY,
        "plain": RejectReason.CAMPAIGN_NOT_MAPPED,
        "yen": RejectReason.MALFORMED_CURRENCY,
    }


def test_a_slice_is_asked_for_by_an_id_that_the_database_cannot_hold(encoded: World) -> None:
    encoded.campaign(encoded.tenant(), "c1")

    with pytest.raises(UnknownSlice, match="日本"):
        resolve_scope(encoded.connection, None, (), ["日本"])
