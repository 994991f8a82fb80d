"""The API through pgbouncer in session mode, with either of its logins."""

from datetime import date

import pytest
from dagster import DagsterInstance
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from engarde_pipeline.settings import API_ROLE, ApiSettings
from engarde_pipeline_tests.api.service import SECRET, api_database_url, serving
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
