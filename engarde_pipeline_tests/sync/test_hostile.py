"""Whatever a slice is asked for with, it is found or named as unknown, and nothing of it is executed."""

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.scope import UnknownSlice, resolve_scope
from engarde_pipeline_tests.shop import Shop
from engarde_pipeline_tests.world import World

HOSTILE = st.text() | st.sampled_from(
    [
        "\0",
        "\ud800",
        "'; DROP TABLE tenants; --",
        "{c1}",
        '{"c1"}',
        "c1,c2",
        "%s",
        "%(tenant)s",
        "$1",
        "NULL",
        "\\x00",
    ]
)


@given(
    asked=st.fixed_dictionaries(
        {},
        optional={
            "tenant": HOSTILE.filter(bool),
            "platforms": st.lists(HOSTILE, min_size=1, max_size=3),
            "campaigns": st.lists(HOSTILE, min_size=1, max_size=3),
        },
    ).filter(bool)
)
@example(asked={"tenant": "\0"})
@example(asked={"campaigns": ["\ud800", "\0"]})
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_slice_of_what_is_not_there_is_unknown(world: World, asked: dict[str, Any]) -> None:
    with connect(world.database_url) as connection:
        if not world.query("SELECT 1 FROM tenants"):
            Shop(world)

        with pytest.raises(UnknownSlice):
            resolve_scope(connection, asked.get("tenant"), asked.get("platforms", ()), asked.get("campaigns", ()))

        assert world.query("SELECT count(*) AS n FROM campaign_spaces") == [{"n": 2}]
