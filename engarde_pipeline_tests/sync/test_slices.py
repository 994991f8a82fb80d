"""Rule 8: a slice replaces its own rows and no other's."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from engarde_pipeline.bigquery.errors import TableMissing
from engarde_pipeline.core.metrics import ASSET_METRICS, RejectReason
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.load.options import LoadOptions
from engarde_pipeline.postgres.load.scope import Scope, UnknownSlice, resolve_scope
from engarde_pipeline.sync.dates import SyncedDate
from engarde_pipeline.sync.slices import sync_slice
from engarde_pipeline_tests.sync.samples import DAY, asset_row, counted, row, versions
from engarde_pipeline_tests.world import World

Subject = tuple[str, str, str]
Names = tuple[str, ...]


class Agency:
    """Two tenants with two campaigns on each of two platforms; every row had 1 click, and has 2 in BigQuery now.

    Each campaign also had a `-gone` twin, whose row BigQuery no longer has.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.tenants = {name: world.tenant(name) for name in ("acme", "globex")}
        self.subjects: list[Subject] = [
            (tenant, platform, campaign)
            for tenant in self.tenants
            for platform in ("meta", "google")
            for campaign in ("c1", "c2")
        ]
        self.spaces: dict[Subject, UUID] = {}
        for tenant, platform, campaign in self.subjects:
            for name in (campaign, f"{campaign}-gone"):
                space = world.campaign(self.tenants[tenant], name, platform)
                self.spaces[tenant, platform, name] = space
        world.load([self.source_row(subject, clicks=1) for subject in self.spaces])
        world.sync_one(DAY)
        world.replace(DAY, [self.source_row(subject, clicks=2) for subject in self.subjects])

    def source_row(self, subject: Subject, clicks: int) -> dict[str, object]:
        tenant, platform, campaign = subject
        return row(self.tenants[tenant], campaign, platform=platform, clicks=clicks)

    def scope(self, tenant: str | None = None, platforms: Names = (), campaigns: Names = ()) -> Scope:
        tenant_id = str(self.tenants[tenant]) if tenant else None
        return resolve_scope(self.world.connection, tenant_id, platforms, campaigns)

    def clicks(self) -> dict[Subject, int]:
        found = {loaded["campaign_space_id"]: loaded["clicks"] for loaded in self.world.rows()}
        return {subject: found[space] for subject, space in self.spaces.items() if space in found}


@pytest.fixture
def agency(world: World) -> Agency:
    return Agency(world)


@pytest.mark.parametrize(
    ("narrowed", "inside"),
    [
        ({"tenant": "acme"}, {"acme"}),
        ({"platforms": ("google",)}, {"google"}),
        ({"platforms": ("google", "meta")}, set()),
        ({"campaigns": ("c1", "c1-gone")}, {"c1", "c1-gone"}),
        ({"tenant": "globex", "platforms": ("meta",)}, {"globex", "meta"}),
        ({"tenant": "globex", "campaigns": ("c2", "c2-gone")}, {"globex", "c2", "c2-gone"}),
        ({"platforms": ("meta",), "campaigns": ("c2", "c2-gone")}, {"meta", "c2", "c2-gone"}),
        (
            {"tenant": "acme", "platforms": ("google",), "campaigns": ("c1", "c1-gone")},
            {"acme", "google", "c1", "c1-gone"},
        ),
    ],
)
def test_a_slice_replaces_exactly_its_rows(agency: Agency, narrowed: dict[str, Any], inside: set[str]) -> None:
    def is_inside(subject: Subject) -> bool:
        groups = ({"acme", "globex"}, {"meta", "google"}, {"c1", "c2", "c1-gone", "c2-gone"})
        return all(part in inside or not group & inside for part, group in zip(subject, groups, strict=True))

    touched = {subject for subject in agency.spaces if is_inside(subject)}
    outside = {agency.spaces[subject] for subject in agency.spaces if subject not in touched}
    before = versions_of(agency.world, outside)

    synced = agency.world.sync_one(DAY, scope=agency.scope(**narrowed))

    half = len(touched) // 2
    assert counted(synced) == {"processed": half, "updated": half, "deleted": half, "source_rows": half}
    assert agency.clicks() == {
        **{subject: 1 for subject in agency.spaces if subject not in touched},
        **{subject: 2 for subject in touched if not subject[2].endswith("-gone")},
    }
    assert versions_of(agency.world, outside) == before


def versions_of(world: World, spaces: set[UUID]) -> list[dict[str, object]]:
    return world.query(
        "SELECT id, xmin::text, ctid::text FROM campaign_metrics WHERE campaign_space_id = ANY(%s) ORDER BY id",
        [list(spaces)],
    )


def test_a_campaign_is_named_by_its_uuid_too(agency: Agency) -> None:
    subject = ("globex", "google", "c2")

    synced = agency.world.sync_one(DAY, scope=agency.scope(campaigns=(str(agency.spaces[subject]),)))

    assert counted(synced) == {"processed": 1, "updated": 1, "source_rows": 1}
    assert [other for other, clicks in agency.clicks().items() if clicks == 2] == [subject]


def test_a_slice_is_sliced_on_every_date(agency: Agency) -> None:
    days = [DAY, DAY + timedelta(days=1)]
    subjects = [("acme", "meta", "c1"), ("globex", "meta", "c1")]
    agency.world.load([agency.source_row(subject, clicks=7) | {"metric_date": days[1]} for subject in subjects])

    agency.world.sync(*days, scope=agency.scope(tenant="acme"))

    assert [loaded["tenant_id"] for loaded in agency.world.rows() if loaded["metric_date"] == days[1]] == [
        agency.tenants["acme"]
    ]


def test_a_whole_sync_after_slices_leaves_nothing_behind(agency: Agency) -> None:
    agency.world.sync_one(DAY, scope=agency.scope(tenant="acme"))
    agency.world.sync_one(DAY, scope=agency.scope(platforms=("meta",)))

    agency.world.sync_one(DAY)

    assert agency.clicks() == dict.fromkeys(agency.subjects, 2)


# Names


WEIRD = [
    *("it's", 'say "c1"', "back\\slash", "日本語 🤺", "%s", "a,b", "line\nbreak"),
    *("'; DROP TABLE tenants; --", "x" * 9_999),
]


def test_a_slice_takes_ids_character_by_character(world: World, tenant: UUID) -> None:
    for name in [*WEIRD, "other"]:
        world.campaign(tenant, name, platform="o'platform")
    world.load([row(tenant, name, platform="o'platform") for name in [*WEIRD, "other"]])

    synced = world.sync_one(DAY, scope=resolve_scope(world.connection, str(tenant), ["o'platform"], WEIRD))

    assert counted(synced) == {"processed": len(WEIRD), "inserted": len(WEIRD), "source_rows": len(WEIRD)}


def test_an_upper_case_tenant_id_names_the_same_slice(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(str(tenant).upper())])

    scope = resolve_scope(world.connection, str(tenant).upper(), [], [])

    assert counted(world.sync_one(DAY, scope=scope)) == {"processed": 1, "inserted": 1, "source_rows": 1}


@pytest.mark.parametrize("name", ["Müller & Söhne", "müller & söhne"])
def test_a_tenant_is_found_by_its_name(world: World, name: str) -> None:
    known = world.tenant("Müller & Söhne")
    world.tenant("Acme")

    assert resolve_scope(world.connection, name, [], []) == Scope(tenant_id=known)


def test_a_name_of_several_tenants_is_refused_and_their_ids_are_named(world: World) -> None:
    same = [world.tenant("Acme"), world.tenant("Acme")]
    lower = world.tenant("acme")

    with pytest.raises(UnknownSlice, match="Several tenants have the name 'Acme'") as refused:
        resolve_scope(world.connection, "Acme", [], [])

    assert all(str(tenant) in str(refused.value) for tenant in same)
    assert str(lower) not in str(refused.value)
    assert resolve_scope(world.connection, "acme", [], []) == Scope(tenant_id=lower)


def test_a_mistyped_name_is_refused_and_similar_ones_are_named(world: World) -> None:
    world.tenant("Globex")
    known = world.tenant("Acme")

    with pytest.raises(UnknownSlice, match=f"no tenant 'Acmee' .* Similar ones are: Acme \\({known}\\)\\.$"):
        resolve_scope(world.connection, "Acmee", [], [])


@pytest.mark.parametrize("unknown", [str(UUID(int=7)), "acm", "' OR true --"])
def test_an_unknown_tenant_is_refused_and_the_known_are_named(world: World, unknown: str) -> None:
    known = world.tenant("Acme")

    with pytest.raises(UnknownSlice) as refused:
        resolve_scope(world.connection, unknown, [], [])

    assert repr(unknown) in str(refused.value)
    assert f"Acme ({known})" in str(refused.value)


def test_an_unknown_platform_is_refused_and_the_known_are_named(world: World, campaign: UUID) -> None:
    with pytest.raises(UnknownSlice, match=r"on the platform myspace.*There are: meta"):
        resolve_scope(world.connection, None, ["meta", "myspace"], [])


@pytest.mark.parametrize(
    ("campaigns", "missing"), [(["c1", "nope"], "nope"), ([str(UUID(int=7))], str(UUID(int=7))), ([""], "")]
)
def test_an_unknown_campaign_is_refused_by_name(
    world: World, tenant: UUID, campaign: UUID, campaigns: list[str], missing: str
) -> None:
    with pytest.raises(UnknownSlice, match=f"has the id {missing};"):
        resolve_scope(world.connection, None, [], campaigns)


def test_another_tenants_campaign_is_refused(world: World, tenant: UUID, campaign: UUID) -> None:
    other = world.tenant("Globex")

    for name in ("c1", str(campaign)):
        with pytest.raises(UnknownSlice):
            resolve_scope(world.connection, str(other), [], [name])


def test_a_campaign_on_another_platform_is_refused(world: World, tenant: UUID, campaign: UUID) -> None:
    world.campaign(tenant, "c2", platform="google")

    with pytest.raises(UnknownSlice):
        resolve_scope(world.connection, None, ["google"], ["c1"])


def test_a_campaign_that_is_not_connected_has_an_empty_slice(world: World, tenant: UUID, campaign: UUID) -> None:
    unconnected = world.campaign(tenant, None)
    world.load([row(tenant, "c1"), row(tenant, "")])

    synced = world.sync_one(DAY, scope=resolve_scope(world.connection, None, [], [str(unconnected)]))

    assert synced.merged.counts.processed == 0
    assert (world.rows(), world.rejected()) == ([], [])


# Rejected records


def test_a_slice_rejects_and_resolves_only_inside_itself(world: World, tenant: UUID, campaign: UUID) -> None:
    other = world.tenant("Globex")
    world.campaign(other, "c1")
    world.load([row(tenant, clicks=-1), row(other, clicks=-1), row(None, clicks=1), row("acme", clicks=1)])
    world.sync_one(DAY)
    assert len(world.rejected()) == 4

    world.replace(DAY, [row(tenant, clicks=1), row(other, clicks=1), row(tenant, "c2"), row(other, "c2")])
    synced = world.sync_one(DAY, scope=Scope(tenant_id=tenant))

    assert counted(synced) == {"processed": 2, "inserted": 1, "rejected": 1, "source_rows": 2}
    rejected = {(row["keys"]["tenant_id"], row["keys"]["campaign_id"]) for row in world.rejected()}
    assert rejected == {(str(tenant), "c2"), (str(other), "c1"), (None, "c1"), ("acme", "c1")}


def test_a_slice_of_a_campaign_resolves_its_rejection_once_it_is_mapped(world: World, tenant: UUID) -> None:
    world.load([row(tenant, "late"), row(tenant, "other")])
    world.sync_one(DAY)
    world.campaign(tenant, "late")

    synced = world.sync_one(DAY, scope=resolve_scope(world.connection, None, [], ["late"]))

    assert counted(synced) == {"processed": 1, "inserted": 1, "source_rows": 1}
    assert [rejected["keys"]["campaign_id"] for rejected in world.rejected()] == ["other"]


def test_a_slice_does_not_resolve_a_record_that_is_still_ambiguous(
    world: World, tenant: UUID, campaign: UUID
) -> None:
    world.campaign(tenant, "c1")
    world.load([row(tenant)])
    world.sync_one(DAY)

    synced = world.sync_one(DAY, scope=resolve_scope(world.connection, None, [], [str(campaign)]))

    assert counted(synced) == {"processed": 1, "rejected": 1, "source_rows": 1}
    assert world.reasons() == [RejectReason.AMBIGUOUS_CAMPAIGN]


@pytest.mark.parametrize("fault", [{"tenant_id": None}, {"platform": None}, {"tenant_id": "acme"}, {"clicks": -1}])
@pytest.mark.parametrize("narrowed", ["platform", "campaign"])
def test_a_row_whose_record_turned_bad_is_kept_by_a_slice_too(
    world: World, tenant: UUID, campaign: UUID, fault: dict[str, Any], narrowed: str
) -> None:
    world.campaign(tenant, "c2")
    world.load([row(tenant), row(tenant, "c2")])
    world.sync_one(DAY)
    before = versions(world)
    world.replace(DAY, [row(tenant, **fault), row(tenant, "c2")])

    wanted = {"platform": (["meta"], []), "campaign": ([], ["c1", "c2"])}[narrowed]
    world.sync_one(DAY, scope=resolve_scope(world.connection, None, *wanted), shrink_threshold=None)

    assert versions(world) == before


@pytest.mark.parametrize("fault", [{"tenant_id": None}, {"clicks": -1}])
def test_a_row_whose_record_turned_bad_is_kept_by_a_tenants_slice_too(
    world: World, tenant: UUID, campaign: UUID, fault: dict[str, Any]
) -> None:
    world.campaign(tenant, "c2")
    world.load([row(tenant), row(tenant, "c2")])
    world.sync_one(DAY)
    before = versions(world)
    world.replace(DAY, [row(tenant, **fault), row(tenant, "c2")])

    world.sync_one(DAY, scope=Scope(tenant_id=tenant), shrink_threshold=None)

    assert versions(world) == before


# Both tables


def slice_of(world: World, scope: Scope) -> dict[str, dict[str, int]]:
    """Sync a slice of DAY; return the counts of each table."""
    counts = {}
    with connect(world.database_url) as connection:
        for table, outcome in sync_slice([DAY], world.source, connection, LoadOptions(uuid4(), 0.5, 2, scope)):
            assert isinstance(outcome, SyncedDate)
            counts[table.source] = counted(outcome)
    return counts


def test_a_slice_covers_campaigns_and_assets(world: World, tenant: UUID, asset: UUID) -> None:
    world.asset(world.campaign(tenant, "c2"), "a1")
    world.load([row(tenant, "c1"), row(tenant, "c2")])
    world.load([asset_row("a1", "c1"), asset_row("a1", "c2")], ASSET_METRICS)

    one = {"processed": 1, "inserted": 1, "source_rows": 1}
    assert slice_of(world, resolve_scope(world.connection, None, [], ["c1"])) == {
        "campaign_metrics": one,
        "asset_metrics": one,
    }
    assert [loaded["campaign_asset_id"] for loaded in world.rows(ASSET_METRICS)] == [asset]


def test_a_slice_without_the_optional_table_covers_campaigns(world: World, tenant: UUID, campaign: UUID) -> None:
    world.load([row(tenant)])

    assert slice_of(world, Scope(tenant_id=tenant)) == {
        "campaign_metrics": {"processed": 1, "inserted": 1, "source_rows": 1}
    }


@pytest.mark.parametrize("with_tenant", [True, False])
def test_a_tenants_slice_of_assets_leaves_the_other_tenants(world: World, tenant: UUID, with_tenant: bool) -> None:
    other = world.tenant("Globex")
    for owner, name in ((tenant, "c1"), (other, "c2")):
        campaign = world.campaign(owner, name)
        for external_id in ("stays", "goes"):
            world.asset(campaign, external_id)
    if with_tenant:
        world.create_source(ASSET_METRICS, tenant_id="STRING")
    owners = {"c1": str(tenant), "c2": str(other)}
    world.load(
        [asset_row(asset, name, tenant_id=owners[name]) for name in owners for asset in ("stays", "goes")],
        ASSET_METRICS,
    )
    world.sync_one(DAY, table=ASSET_METRICS)
    world.replace(
        DAY, [asset_row("stays", name, tenant_id=owners[name], clicks=1) for name in owners], ASSET_METRICS
    )

    synced = world.sync_one(DAY, table=ASSET_METRICS, scope=Scope(tenant_id=tenant))

    assert counted(synced)["updated"] == counted(synced)["deleted"] == 1
    assert sorted((loaded["tenant_id"] == tenant, loaded["clicks"]) for loaded in world.rows(ASSET_METRICS)) == [
        (False, 0),
        (False, 0),
        (True, 1),
    ]


def test_a_slice_fails_as_a_whole_sync_does_where_the_campaign_table_is_missing(world: World) -> None:
    with pytest.raises(TableMissing, match=rf"{world.dataset}\.campaign_metrics"):
        slice_of(world, Scope(platforms=("meta",)))
