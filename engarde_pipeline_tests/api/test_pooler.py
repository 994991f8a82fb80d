"""The API through pgbouncer, with either of its logins, and with what its role has set."""

from datetime import date

import pytest
from dagster import DagsterInstance
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from engarde_pipeline.api.database import check_isolation
from engarde_pipeline.postgres.connection import DatabaseUnfit
from engarde_pipeline.settings import API_ROLE, ApiSettings
from engarde_pipeline_tests.api.service import SECRET, api_database_url, serving, settings
from engarde_pipeline_tests.poolers import pgbouncer
from engarde_pipeline_tests.shop import Shop

DAY = date(2026, 3, 1)


@pytest.mark.parametrize("has_own_login", [True, False])
def test_through_a_pooler_the_api_answers_with_the_numbers_of_one_tenant(
    shop: Shop, instance: DagsterInstance, has_own_login: bool
) -> None:
    shop.load(DAY)
    shop.world.sync(DAY)
    other = shop.world.tenant("Other")
    api_database_url(shop.world.database_url)  # lets the role log in

    with pgbouncer(shop.world.database_url, "session", size=10) as pooler:
        own = make_url(pooler).set(username=API_ROLE).render_as_string(hide_password=False)
        behind = ApiSettings(
            database_url=SecretStr(pooler),
            api_database_url=SecretStr(own) if has_own_login else None,
            jwt_secret_key=SecretStr(SECRET),
        )
        with serving(behind, instance) as service:
            for tenant, groups in ((shop.tenant, 1), (other, 0)):
                answer = service.get("/metrics", tenant, start_date=str(DAY), end_date=str(DAY))
                assert (answer.status_code, len(answer.json()["metrics"])) == (200, groups)


def test_the_api_does_not_start_behind_a_pooler_in_transaction_mode(database_url: str) -> None:
    refused = pytest.raises(DatabaseUnfit, match="is the address of a pooler in transaction")
    with pgbouncer(api_database_url(database_url), "transaction") as pooler, refused:
        check_isolation(pooler)


ODD = {
    "TimeZone": "Australia/Sydney",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "-15",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "off",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "row_security": "off",
    "statement_timeout": "1s",
}


def test_responses_do_not_depend_on_what_the_role_has_set(shop: Shop, instance: DagsterInstance) -> None:
    shop.load(DAY, conversions=0.3)
    shop.world.sync(DAY)
    shop.world.connection.execute("UPDATE campaign_spaces SET name = 'café 日本'")
    asked = [("/metrics", {"group_by": "campaign"}), (f"/metrics/{shop.first}", {})]

    def responses() -> list[object]:
        with serving(settings(shop.world.database_url), instance) as service:
            found = [
                service.get(path, shop.tenant, start_date=str(DAY), end_date=str(DAY), **values)
                for path, values in asked
            ]
        assert [response.status_code for response in found] == [200] * len(asked)
        return [response.json() for response in found]

    before = responses()
    database = make_url(shop.world.database_url).database
    for name, value in ODD.items():
        statement = f"ALTER ROLE {API_ROLE} IN DATABASE {database} SET {name} = '{value}'"
        shop.world.connection.execute(statement.encode())
    assert responses() == before
