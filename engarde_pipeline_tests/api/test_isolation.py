"""Isolation does not depend on our memory: Postgres itself shows the API one tenant's rows, or none."""

import asyncio
import random
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from dagster import DagsterInstance
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from engarde_pipeline.api.app import PREFIX
from engarde_pipeline.api.database import Database, NotIsolated, check_isolation
from engarde_pipeline.core.metrics import ASSET_METRICS
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.totals.metric_blocks import update_blocks
from engarde_pipeline.settings import ApiSettings, load_api_settings
from engarde_pipeline_tests.api.service import SECRET, Service, api_database_url, serving
from engarde_pipeline_tests.world import World

DAY = date(2026, 3, 1)
TENANTS, CAMPAIGNS, DATES = 5, 3, 4
REQUESTS = 2_000

# Every number of a tenant is a multiple of a prime of its own, and every campaign has a platform of its own.
PRIMES = (1009, 1013, 1019, 1021, 1031)

HOSTILE = (
    "' OR '1'='1",
    "'; DROP TABLE campaign_metrics; --",
    "1); RESET ROLE; --",
    "%s",
    "%(tenant_id)s",
    "\\",
    "$1",
    "{ratios}",
    "meta'/**/UNION/**/SELECT/**/1",
    "\ud7ff",
    "𝕏" * 30,
)


class Crowd:
    """Several tenants with numbers by which each can be told."""

    def __init__(self, world: World) -> None:
        self.tenants = [world.tenant(f"T{n}") for n in range(TENANTS)]
        self.campaigns: dict[UUID, list[UUID]] = {}
        self.assets: dict[UUID, list[UUID]] = {}
        for tenant, prime in zip(self.tenants, PRIMES, strict=True):
            self.campaigns[tenant] = [world.campaign(tenant, f"c{n}", f"p{n}") for n in range(CAMPAIGNS)]
            for campaign in self.campaigns[tenant]:
                world.connection.execute(
                    "INSERT INTO campaign_metrics (tenant_id, campaign_space_id, platform, metric_date,"
                    " impressions, clicks, spend, conversions, revenue, bigquery_sync_id, synced_from_bigquery_at)"
                    " SELECT tenant_id, id, platform, %s + n, %s, %s, %s, %s, %s, gen_random_uuid(), now()"
                    " FROM campaign_spaces, generate_series(0, %s) n WHERE id = %s",
                    [DAY, *[prime] * 5, DATES - 1, campaign],
                )
            self.assets[tenant] = [world.asset(campaign, "a") for campaign in self.campaigns[tenant]]
            world.connection.execute(
                "INSERT INTO campaign_asset_metrics (tenant_id, campaign_asset_id, platform, metric_date,"
                " impressions, engagements, bigquery_sync_id, synced_from_bigquery_at)"
                " SELECT m.tenant_id, a.id, m.platform, metric_date, impressions, impressions,"
                " bigquery_sync_id, now()"
                " FROM campaign_metrics m JOIN campaign_assets a USING (campaign_space_id) WHERE m.tenant_id = %s",
                [tenant],
            )
            _reject(world, str(tenant), "campaign_not_mapped", prime)

    def reject_of_nobody(self, world: World) -> None:
        """Add rejected records that belong to no tenant."""
        for keys, reason in _OF_NOBODY:
            _reject(world, keys and keys.format(tenant=self.tenants[0]), reason, 1)

    def prime(self, tenant: UUID) -> int:
        return PRIMES[self.tenants.index(tenant)]


# A tenant's id in the keys of a record, and why it belongs to no tenant.
_OF_NOBODY = (
    (None, "ambiguous_tenant"),
    ("{tenant} ", "malformed_tenant"),
    ("acme", "malformed_tenant"),
    ("", "null_key"),
    ("a" * 10_000, "malformed_tenant"),
    ("{tenant}", "unknown_tenant"),
    (str(UUID(int=0)), "unknown_tenant"),
)


def _reject(world: World, tenant: str | None, reason: str, number: int) -> None:
    keys = {"tenant_id": tenant, "campaign_id": "c9", "platform": "meta"}
    world.connection.execute(
        "INSERT INTO rejected_metric_rows"
        " (table_name, metric_date, keys, key_digest, measures, reason_code, reason, run_id)"
        " VALUES ('campaign_metrics', %s, %s, sha256(gen_random_uuid()::text::bytea), %s, %s, 'because',"
        " gen_random_uuid())",
        [DAY, Jsonb(keys), Jsonb({"impressions": number, "spend": number, "source_rows": 1}), reason],
    )


@pytest.fixture
def crowd(configured: World) -> Crowd:
    return Crowd(configured)


def _as_api(world: World) -> psycopg.Connection:
    return connect(api_database_url(world.database_url))


_OF_A_DATE = ("campaign_metrics", "campaign_asset_metrics", "platform_days", "asset_platform_days")
_OF_BLOCKS = ("metric_blocks", "metric_block_sums")


def _numbers(connection: psycopg.Connection, table: str = "campaign_metrics") -> set[int]:
    return {row[0] for row in connection.execute(f"SELECT impressions FROM {table}".encode()).fetchall()}


def _tenants(connection: psycopg.Connection, table: str) -> set[UUID]:
    return {row[0] for row in connection.execute(f"SELECT tenant_id FROM {table}".encode()).fetchall()}


def _rejected(connection: psycopg.Connection) -> set[int]:
    rows = connection.execute("SELECT measures -> 'impressions' FROM rejected_metric_rows").fetchall()
    return {row[0] for row in rows}


def test_a_query_that_forgets_its_where_sees_one_tenant(configured: World, crowd: Crowd) -> None:
    tenant = crowd.tenants[2]
    update_blocks(configured.connection)
    with _as_api(configured) as connection, connection.transaction():
        connection.execute("SELECT set_config('engarde.tenant_id', %s, true)", [str(tenant)])
        for table in _OF_A_DATE:
            assert _numbers(connection, table) == {crowd.prime(tenant)}
        for table in _OF_BLOCKS:
            assert _tenants(connection, table) == {tenant}
        assert _rejected(connection) == {crowd.prime(tenant)}
        assets = connection.execute("SELECT id FROM engarde_api.campaign_assets").fetchall()
        names = connection.execute("SELECT name FROM engarde_api.tenants").fetchall()
        spaces = connection.execute("SELECT DISTINCT tenant_id FROM engarde_api.campaign_spaces").fetchall()
    assert (names, spaces) == ([("T2",)], [(tenant,)])
    assert {asset for (asset,) in assets} == set(crowd.assets[tenant])


def test_the_tenant_is_read_once_per_query_and_not_once_per_row(configured: World) -> None:
    restrictions = configured.query(
        "SELECT pg_get_expr(polqual, polrelid) AS text FROM pg_policy WHERE polname = 'one_tenant' UNION ALL"
        " SELECT pg_get_viewdef(oid) FROM pg_class WHERE relnamespace = 'engarde_api'::regnamespace"
        " AND relkind = 'v' AND pg_get_viewdef(oid) ~ 'tenant_id\\(\\)'"
    )
    assert len(restrictions) == 10
    assert all("( SELECT engarde_api.tenant_id()" in row["text"] for row in restrictions)


def test_without_a_tenant_nothing_is_seen(configured: World, crowd: Crowd) -> None:
    update_blocks(configured.connection)
    with _as_api(configured) as connection:
        for table in _OF_A_DATE:
            assert _numbers(connection, table) == set()
        for table in _OF_BLOCKS:
            assert _tenants(connection, table) == set()
        assert _rejected(connection) == set()
        assert connection.execute("SELECT * FROM engarde_api.campaign_assets").fetchall() == []
        assert connection.execute("SELECT * FROM engarde_api.tenants").fetchall() == []


def test_a_rejected_record_of_no_known_tenant_is_shown_to_none(
    api: Service, configured: World, crowd: Crowd
) -> None:
    crowd.reject_of_nobody(configured)
    assert len(configured.rejected()) == TENANTS + len(_OF_NOBODY)

    for tenant in crowd.tenants:
        answer = api.get("/rejected-records", tenant, start_date=str(DAY), end_date=str(DAY)).json()
        (record,) = answer["rejected_records"]
        assert answer["total_records"] == 1
        assert record["measures"] == dict.fromkeys(("impressions", "spend"), crowd.prime(tenant))
        with _as_api(configured) as connection, connection.transaction():
            connection.execute("SELECT set_config('engarde.tenant_id', %s, true)", [str(tenant)])
            assert _rejected(connection) == {crowd.prime(tenant)}


def test_a_transactions_tenant_ends_with_it(configured: World, crowd: Crowd) -> None:
    with _as_api(configured) as connection:
        with connection.transaction():
            connection.execute("SELECT set_config('engarde.tenant_id', %s, true)", [str(crowd.tenants[0])])
            assert _numbers(connection)
        assert _numbers(connection) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM public.tenants",
        "SELECT * FROM public.campaign_spaces",
        "SELECT * FROM public.campaign_assets",
        "SELECT * FROM held_dates",
        "SELECT reason FROM held_dates",
        "SELECT evidence FROM held_dates",
        "SELECT run_id FROM held_dates",
        "DELETE FROM held_dates",
        "SELECT version FROM synced_dates",
        "SELECT spend FROM synced_dates",
        "DELETE FROM engarde_api.dates_without_table",
        "SELECT * FROM campaign_space_months",
        "SELECT * FROM campaign_space_sums",
        "INSERT INTO campaign_metrics (tenant_id) SELECT tenant_id FROM campaign_metrics",
        "UPDATE campaign_metrics SET clicks = 0",
        "UPDATE platform_days SET clicks = 0",
        "UPDATE metric_block_sums SET clicks = 0",
        "SELECT * FROM due_blocks",
        "UPDATE rejected_metric_rows SET resolved_at = now()",
        "DELETE FROM campaign_metrics",
        "TRUNCATE campaign_metrics",
        "ALTER TABLE campaign_metrics DISABLE ROW LEVEL SECURITY",
        "SET ROLE postgres",
        "CREATE TABLE public.mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int);"
        " CREATE TRIGGER mine AFTER TRUNCATE ON mine EXECUTE FUNCTION public.keep_platform_days()",
    ],
)
def test_the_apis_role_may_do_nothing_else(configured: World, crowd: Crowd, statement: str) -> None:
    with _as_api(configured) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_whoever_else_reads_the_tables_still_sees_every_row(configured: World, crowd: Crowd) -> None:
    role = f"reader_{uuid4().hex}"
    with connect(configured.database_url) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        connection.execute(f"GRANT SELECT ON campaign_metrics TO {role}".encode())
        url = make_url(configured.database_url).set(username=role).render_as_string(hide_password=False)
        with connect(url) as reader:
            assert _numbers(reader) == set(PRIMES)
        connection.execute(f"DROP OWNED BY {role}".encode())
        connection.execute(f"DROP ROLE {role}".encode())


def test_a_login_that_is_not_restricted_is_refused_at_start(configured: World) -> None:
    with pytest.raises(NotIsolated, match="engarde_api"):
        check_isolation(configured.database_url)


# How a login could see more than one tenant, although it has the API's role.
_ESCAPES = {
    "rights of its own, and not those of the role": "GRANT engarde_api TO {login} WITH INHERIT FALSE;"
    " GRANT SELECT ON campaign_metrics TO {login}",
    "a role to take that reads the table": "GRANT engarde_api TO {login}; CREATE ROLE {other};"
    " GRANT SELECT ON platform_days TO {other}; GRANT {other} TO {login}",
    "a superuser to become": "GRANT engarde_api TO {login}; CREATE ROLE {other} SUPERUSER;"
    " GRANT {other} TO {login}",
    "row security bypassed": "GRANT engarde_api TO {login}; ALTER ROLE {login} BYPASSRLS",
    "no policy": "GRANT engarde_api TO {login}; DROP POLICY one_tenant ON platform_days",
    "no policy for rejected records": "GRANT engarde_api TO {login};"
    " DROP POLICY one_tenant ON rejected_metric_rows",
    "no row security": "GRANT engarde_api TO {login};"
    " ALTER TABLE campaign_asset_metrics DISABLE ROW LEVEL SECURITY",
}


@pytest.mark.parametrize("escape", _ESCAPES.values(), ids=_ESCAPES)
def test_a_login_that_could_see_more_is_refused_at_start(configured: World, escape: str) -> None:
    login, other = f"login_{uuid4().hex}", f"other_{uuid4().hex}"
    url = make_url(configured.database_url).set(username=login).render_as_string(hide_password=False)
    with connect(configured.database_url) as connection:
        connection.execute(f"CREATE ROLE {login} LOGIN; GRANT engarde_api TO {login}".encode())
        check_isolation(url)
        connection.execute(f"REVOKE engarde_api FROM {login}".encode())

        connection.execute(escape.format(login=login, other=other).encode())

        with pytest.raises(NotIsolated, match="not restricted to one tenant"):
            check_isolation(url)


def test_without_a_login_of_its_own_the_api_takes_its_role(
    configured: World, crowd: Crowd, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", SECRET)
    own = load_api_settings()

    async def ask(tenant: UUID, statement: bytes) -> list[dict[str, Any]]:
        database = Database(own.api_login, set_role=own.api_takes_role)
        await database.open()
        try:
            (rows,) = await database.execute(tenant, (statement, {}))
            return rows
        finally:
            await database.close()

    assert asyncio.run(ask(uuid4(), b"SELECT * FROM campaign_metrics")) == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        asyncio.run(ask(crowd.tenants[1], b"SELECT * FROM public.tenants"))
    with serving(own, instance) as service:
        answer = service.get("/metrics", crowd.tenants[1], start_date=str(DAY), end_date=str(DAY)).json()
    assert [group["impressions"] for group in answer["metrics"]] == [crowd.prime(crowd.tenants[1]) * CAMPAIGNS]


def test_a_login_that_may_not_take_the_role_is_told_how(configured: World) -> None:
    role = f"stranger_{uuid4().hex}"
    with connect(configured.database_url) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        url = make_url(configured.database_url).set(username=role).render_as_string(hide_password=False)
        stranger = ApiSettings(database_url=SecretStr(url), jwt_secret_key=SecretStr(SECRET))
        with pytest.raises(NotIsolated, match="GRANT engarde_api TO"):
            check_isolation(stranger.api_login, stranger.api_takes_role)
        connection.execute(f"DROP ROLE {role}".encode())


@pytest.mark.long
def test_no_request_whatever_it_holds_gets_a_row_of_another_tenant(
    api: Service, configured: World, crowd: Crowd
) -> None:
    chance = random.Random(20261123)  # noqa: S311
    everyone = [campaign for campaigns in crowd.campaigns.values() for campaign in campaigns]
    every_asset = [asset for assets in crowd.assets.values() for asset in assets]
    crowd.reject_of_nobody(configured)
    headers = {tenant: api.headers(tenant) for tenant in crowd.tenants}
    seen = 0
    for _ in range(REQUESTS):
        tenant = chance.choice(crowd.tenants)
        start = DAY + timedelta(days=chance.randrange(-2, DATES))
        params: dict[str, str] = {"start_date": str(start), "end_date": str(start + timedelta(days=10))}
        if chance.random() < 0.5:
            params["group_by"] = chance.choice(["date", "campaign", "platform", *HOSTILE[:2]])
        if chance.random() < 0.4:
            # Where one of them is another tenant's, all of them are refused.
            named = chance.sample(chance.choice([everyone, crowd.campaigns[tenant]]), CAMPAIGNS)
            params["campaign_space_ids"] = ",".join(map(str, named))
        if chance.random() < 0.3:
            params["platform"] = chance.choice(["p0", "p1", chance.choice(HOSTILE)])
        if chance.random() < 0.2:
            params["cursor"] = chance.choice([str(DAY), str(chance.choice(everyone)), *HOSTILE])
        campaign = chance.choice(chance.choice([everyone, crowd.campaigns[tenant]]))
        asset = chance.choice(chance.choice([every_asset, crowd.assets[tenant]]))
        one = {f"/metrics/{campaign}": campaign, f"/assets/{asset}/metrics": asset}
        path = chance.choice(
            ["/metrics", "/metrics", "/assets/metrics", "/assets/metrics", "/rejected-records", *one]
        )
        if path.startswith("/assets") and chance.random() < 0.4:
            named = chance.sample(chance.choice([every_asset, crowd.assets[tenant]]), CAMPAIGNS)
            params["campaign_asset_ids"] = ",".join(map(str, named))
        if chance.random() < 0.3:
            params["order_by"] = chance.choice(["spend", "ctr", *HOSTILE])
        if path in one:
            params = {name: value for name, value in params.items() if name.endswith("_date")}
        if path == "/rejected-records":
            params = {
                name: value for name, value in params.items() if name in ("start_date", "end_date", "cursor")
            }
        answer = api.client.get(PREFIX + path, params=params, headers=headers[tenant])
        if path in one and one[path] not in crowd.campaigns[tenant] + crowd.assets[tenant]:
            assert answer.status_code == 404
        assert answer.status_code in (200, 404, 422), answer.text
        if answer.status_code != 200:
            continue
        found = answer.json()
        if path == "/rejected-records":
            assert {record["measures"]["spend"] for record in found["rejected_records"]} <= {crowd.prime(tenant)}
            continue
        assert (found["rejected_records"], found["rejected_spend"]) in ((0, 0), (1, crowd.prime(tenant)))
        for group in found["metrics"]:
            seen += 1
            assert group["impressions"] % crowd.prime(tenant) == 0, (path, params)
            assert group["impressions"] <= crowd.prime(tenant) * CAMPAIGNS * DATES
    assert seen > REQUESTS


@pytest.mark.parametrize("hostile", HOSTILE)
def test_sql_in_any_parameter_changes_nothing(api: Service, configured: World, crowd: Crowd, hostile: str) -> None:
    tenant = crowd.tenants[0]
    page = ("start_date", "end_date", "limit", "cursor")
    groups = (*page, "campaign_space_ids", "platform", "group_by", "order_by", "order")
    for path, names in (
        ("/metrics", groups),
        ("/assets/metrics", (*groups, "campaign_asset_ids")),
        ("/rejected-records", (*page, "reason")),
    ):
        for name in names:
            assert api.get(path, tenant, **{name: hostile}).status_code in (200, 422), (path, name)
    assert api.get("/sync-status", tenant, cursor=hostile).status_code == 422
    assert api.get(f"/sync-jobs/{hostile.replace('/', '')}", tenant).status_code == 404
    body = {"platform": hostile, "start_date": str(DAY), "end_date": str(DAY)}
    assert api.sync(tenant, body).status_code == 422
    assert len(configured.rows()) == len(configured.rows(ASSET_METRICS)) == TENANTS * CAMPAIGNS * DATES
