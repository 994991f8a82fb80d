"""The scope of a slice (rule 8): the tenant, platforms and campaign spaces whose rows a sync may replace."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from engarde_pipeline.core.errors import InvalidInput
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.encodings import unrepresentable
from engarde_pipeline.postgres.schema.application_tables import CAMPAIGN_SPACES

_EXAMPLES = 10
"""How many tenants an error lists."""


class UnknownSlice(InvalidInput):
    """A requested tenant, platform or campaign does not exist in Postgres, or the tenant's name is ambiguous."""


@dataclass(frozen=True)
class Scope:
    """The tenant, platforms and campaign spaces that a sync is limited to; None means all of them.

    `external_campaign_ids` are the ids of `campaign_space_ids` in BigQuery.
    """

    tenant_id: UUID | None = None
    platforms: tuple[str, ...] | None = None
    campaign_space_ids: tuple[UUID, ...] | None = None
    external_campaign_ids: tuple[str, ...] = ()

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of the conditions below."""
        return {
            "tenant": self.tenant_id,
            "platforms": list(self.platforms) if self.platforms is not None else None,
            "campaigns": list(self.campaign_space_ids) if self.campaign_space_ids is not None else None,
        }

    def of_records(self) -> sql.Composable:
        """The condition on a record (alias r): its tenant, platform and campaign in BigQuery are in scope."""
        return self._of_keys(sql.SQL("r.tenant_key"), sql.SQL("r.platform"), sql.SQL("r.campaign_id"))

    def of_target(self, table: MetricTable) -> sql.Composable:
        """The condition on a row of the target table (alias t): it and its source keys are in scope."""
        campaign = sql.SQL("t.campaign_space_id = ANY(%(campaigns)s::uuid[])")
        if table.target_id != CAMPAIGN_METRICS.target_id:
            campaign = sql.SQL(
                "t.campaign_asset_id IN (SELECT id FROM campaign_assets"
                " WHERE campaign_space_id = ANY(%(campaigns)s::uuid[]))"
            )
        named = self._all(
            sql.SQL("t.tenant_id = %(tenant)s"), sql.SQL("t.platform = ANY(%(platforms)s)"), campaign
        )
        if self == EVERYTHING:
            return named
        # If the application changed a tenant, platform or external id, the row may have been loaded under keys out
        # of scope. Their records are not read, so it is unknown whether BigQuery still has the row.
        loaded_as = self._of_keys(sql.SQL("k.tenant_key"), sql.SQL("k.platform"), sql.SQL("k.campaign_id"))
        return sql.SQL(
            "{named} AND NOT EXISTS ("
            "SELECT FROM source_keys k WHERE k.{target_id} = t.{target_id} AND ({loaded_as}) IS NOT TRUE)"
        ).format(named=named, target_id=sql.Identifier(table.target_id), loaded_as=loaded_as)

    def of_rejected(self) -> sql.Composable:
        """The condition on an open rejected record (alias j): its keys are in scope, so its record is read."""
        return self._of_keys(
            sql.SQL("(j.keys ->> 'tenant_id')"),
            sql.SQL("(j.keys ->> 'platform')"),
            sql.SQL("(j.keys ->> 'campaign_id')"),
        )

    def _of_keys(self, tenant: sql.SQL, platform: sql.SQL, campaign: sql.SQL) -> sql.Composable:
        # By keys, not by id: an ambiguous record, which several campaign spaces match, is in the scope of each.
        of_campaigns = sql.SQL(
            "EXISTS (SELECT FROM {} c WHERE c.id = ANY(%(campaigns)s::uuid[])"
            " AND c.tenant_id::text = {} AND c.platform = {} AND c.external_campaign_id = {})"
        ).format(sql.SQL(CAMPAIGN_SPACES), tenant, platform, campaign)
        return self._all(
            sql.SQL("{} = %(tenant)s::uuid::text").format(tenant),
            sql.SQL("{} = ANY(%(platforms)s)").format(platform),
            of_campaigns,
        )

    def _all(self, tenant: sql.Composable, platform: sql.Composable, campaign: sql.Composable) -> sql.Composable:
        conditions = [
            condition
            for condition, value in (
                (tenant, self.tenant_id),
                (platform, self.platforms),
                (campaign, self.campaign_space_ids),
            )
            if value is not None
        ]
        return sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")


EVERYTHING = Scope()


def resolve_scope(
    connection: psycopg.Connection,
    tenant: str | None,
    platforms: Sequence[str],
    campaigns: Sequence[str],
) -> Scope:
    """Return the scope of a slice.

    `tenant` is a uuid or a name. `campaigns` are campaign space ids (uuids) or external campaign ids.

    Raises:
        UnknownSlice: a tenant, platform or campaign does not exist, or several tenants have the name; the message
            lists those that exist.
    """
    tenant_id = _tenant(connection, tenant) if tenant else None
    if platforms:
        _check_platforms(connection, platforms)
    if not campaigns:
        return Scope(tenant_id, tuple(platforms) or None)
    spaces = (
        connection.cursor(row_factory=dict_row)
        .execute(
            sql.SQL("""
        SELECT id, external_campaign_id
        FROM {campaign_spaces} c
        WHERE (id::text = ANY(%(wanted)s) OR external_campaign_id = ANY(%(wanted)s))
          AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
          AND (%(platforms)s::text[] IS NULL OR platform = ANY(%(platforms)s))
        """).format(campaign_spaces=sql.SQL(CAMPAIGN_SPACES)),
            {
                "wanted": [campaign for campaign in campaigns if _is_storable(connection, campaign)],
                "tenant": tenant_id,
                "platforms": list(platforms) or None,
            },
        )
        .fetchall()
    )
    found = {str(space["id"]) for space in spaces} | {space["external_campaign_id"] for space in spaces}
    if missing := [campaign for campaign in campaigns if campaign not in found]:
        raise UnknownSlice(
            f"No campaign space (of this tenant and platform, if given) has the id {', '.join(missing)};"
            " use the uuid of a campaign space or the campaign's id on the ad platform."
        )
    return Scope(
        tenant_id,
        tuple(platforms) or None,
        tuple(space["id"] for space in spaces),
        tuple(sorted({space["external_campaign_id"] for space in spaces} - {None})),
    )


def _tenant(connection: psycopg.Connection, tenant: str) -> UUID:
    names = _tenants(connection)
    found = (
        [tenant_id for tenant_id in names if str(tenant_id) == tenant.lower()]
        or [tenant_id for tenant_id, name in names.items() if name == tenant]
        or [tenant_id for tenant_id, name in names.items() if name.casefold() == tenant.casefold()]
    )
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownSlice(
            f"Several tenants have the name {tenant!r}: {', '.join(map(str, found))}. Use the uuid of one of them."
        )
    close = get_close_matches(tenant.casefold(), {name.casefold() for name in names.values()}, cutoff=0.5)
    similar = [tenant_id for tenant_id, name in names.items() if name.casefold() in close]
    examples = ", ".join(
        f"{names[tenant_id] or 'without a name'} ({tenant_id})"
        for tenant_id in (similar or list(names))[:_EXAMPLES]
    )
    which = "Similar ones are" if similar else "There are"
    raise UnknownSlice(
        f"There is no tenant {tenant!r} in Postgres; use the name or the uuid of a tenant."
        f" {which}: {examples or 'none at all'}."
    )


def tenant_names(connection: psycopg.Connection) -> list[str]:
    """Return the names of all tenants that have one."""
    return sorted({name for name in _tenants(connection).values() if name}, key=str.casefold)


def _tenants(connection: psycopg.Connection) -> dict[UUID, str]:
    # Through JSON, because the column name may not exist.
    rows = connection.execute(
        "SELECT id, to_jsonb(t) ->> 'name' AS name FROM tenants t ORDER BY name, id"
    ).fetchall()
    return {UUID(str(tenant_id)): name or "" for tenant_id, name in rows}


def platforms(connection: psycopg.Connection) -> list[str]:
    """Return the ad platforms of all campaign spaces."""
    statement = sql.SQL("SELECT DISTINCT platform FROM {} c ORDER BY 1").format(sql.SQL(CAMPAIGN_SPACES))
    return [row[0] for row in connection.execute(statement)]


def _is_storable(connection: psycopg.Connection, text: str) -> bool:
    """Whether the text can be a parameter: no NUL, no lone surrogate, only characters that the database has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text and not unrepresentable(connection, text)


def _check_platforms(connection: psycopg.Connection, asked: Sequence[str]) -> None:
    known = platforms(connection)
    if unknown := [platform for platform in asked if platform not in known]:
        raise UnknownSlice(
            f"No campaign space is on the platform {', '.join(unknown)}. There are: {', '.join(known)}."
        )
