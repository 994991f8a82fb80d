"""Rules 1, 2, 3, 5 and 16 against an oracle: whatever BigQuery and the application have, and when it changes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal, localcontext
from math import inf, nan
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from engarde_pipeline.core.currencies import ByCurrency
from engarde_pipeline.core.metrics import ASSET_METRICS, CAMPAIGN_METRICS, MetricTable
from engarde_pipeline.postgres.load.changes import LARGEST_SHOWN
from engarde_pipeline.postgres.load.held_dates import DateWouldShrink
from engarde_pipeline.postgres.load.merge import MergedDate
from engarde_pipeline.sync.dates import FailedDate, SyncedDate
from engarde_pipeline_tests import oracle
from engarde_pipeline_tests.oracle import Application, Asset, Campaign, DateState, MetricRow, Rejection
from engarde_pipeline_tests.sync.samples import DAY, NEXT_DAY, versions
from engarde_pipeline_tests.sync.test_rejected import BAD_CURRENCIES
from engarde_pipeline_tests.world import ASSET_COLUMNS, CAMPAIGN_COLUMNS, World

DAY_AFTER_NEXT = NEXT_DAY + timedelta(days=1)
DAYS = (DAY, NEXT_DAY, DAY_AFTER_NEXT)

TENANTS = [UUID(f"{letter * 8}-abcd-4def-8000-00000000000{letter}") for letter in "abc"]
STRANGER = "dddddddd-abcd-4def-8000-00000000000d"
PLATFORMS = ("meta", "google")

# None are equal, however alike they look; with them go any few characters.
ODD_IDS = (
    "c1",
    "C1",
    "c1 ",
    "",
    "é",
    "e\u0301",
    "ß",
    "a,b",
    'a"b',
    "a\\b",
    "\\N",
    "\n",
    "NULL",
    "nan",
    "🤺",
    "7",
    "07",
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)

TOP = 2**63 - 1
GOOD_NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "INT64": st.sampled_from([0, None, 1, 2, 3, 20, 700, 10**6, 2**53 + 1, TOP // 2, TOP]) | st.integers(0, 10**7),
    "FLOAT64": (
        st.none()
        | st.sampled_from([0.0, -0.0, 0.1, 0.2, 1 / 3, 0.0000005, 0.0000025, 0.00000049999, 1e22, 9.9e31, 5e-324])
        | st.integers(0, 10**9).map(lambda micros: micros / 10**6)
        | st.floats(0, 1e9)
    ),
    "NUMERIC(38, 9)": st.none() | st.decimals(0, 10**28, places=9) | st.decimals(0, 10, places=7),
}
BAD_NUMBERS: dict[str, Sequence[Any]] = {
    "INT64": (-1, -TOP - 1),
    "FLOAT64": (nan, inf, -inf, -1e-9, -0.01, 1e32, 99999999999999999999999999999999.0, 1.7e308),
    "NUMERIC(38, 9)": (Decimal("-0.000000001"), Decimal(-5)),
}
CURRENCIES = ("EUR", "USD", None)

BAD_KEYS: Sequence[dict[str, Any]] = (
    {"tenant_id": None},
    {"tenant_id": "ACME"},
    {"tenant_id": TENANTS[0].hex},
    {"tenant_id": f"{TENANTS[0]}\n"},
    {"tenant_id": f"{TENANTS[0]}\0"},
    {"tenant_id": STRANGER},
    {"campaign_id": None},
    {"campaign_id": "unmapped"},
    {"campaign_id": "c\x001"},
    {"asset_id": None},
    {"asset_id": "unmapped"},
    {"asset_id": "a\x001"},
    {"platform": None},
    {"platform": "Meta"},
    {"platform": "meta\0"},
    {"metric_hour": -1},
    {"metric_hour": 24},
    {"metric_hour": TOP},
    {"tenant_id": "acme", "platform": None},
    *({"currency": currency} for currency in BAD_CURRENCIES),
)
"""Also where they change nothing: a column may be missing, or a key optional."""

SourceRow = dict[str, Any]
State = dict[date, DateState]


@dataclass(frozen=True)
class Chapter:
    """What the application and BigQuery hold at a time, and the dates that are synced then."""

    application: Application
    source: list[SourceRow]
    dates: Sequence[date]


@dataclass(frozen=True)
class Story:
    """A first load and a restatement; `types` are the source's columns that are not the usual ones."""

    types: dict[str, Any]
    first: Chapter
    restated: Chapter


@st.composite
def applications(draw: st.DrawFn) -> Application:
    """A few tenants whose campaigns and assets share few ids; sometimes two have all keys in common."""
    tenants = TENANTS[: draw(st.integers(1, 3))]
    ids = draw(st.lists(st.sampled_from(ODD_IDS) | TEXT, min_size=2, max_size=4, unique=True))

    def mostly_unique(elements: st.SearchStrategy[Any]) -> list[Any]:
        unique = list(dict.fromkeys(draw(st.lists(elements, min_size=2, max_size=7))))
        return [*unique, *unique[: draw(st.sampled_from([0, 0, 1]))]]

    keys = st.tuples(st.sampled_from(tenants), st.sampled_from(PLATFORMS), st.sampled_from(ids))
    campaigns = [Campaign(UUID(int=n), *those) for n, those in enumerate(mostly_unique(keys))]
    keys_of_assets = st.tuples(st.sampled_from(campaigns), st.sampled_from(ids))
    assets = [Asset(UUID(int=100 + n), *those) for n, those in enumerate(mostly_unique(keys_of_assets))]
    return Application(tenants, [*campaigns, Campaign(UUID(int=99), tenants[0], "meta", None)], assets)


@st.composite
def earlier(draw: st.DrawFn, later: Application) -> Application:
    """The application when it knew less; or it knew as much."""
    if draw(st.booleans()):
        return later
    tenants = later.tenants[: draw(st.integers(0, len(later.tenants)))]
    campaigns = [campaign for campaign in later.campaigns if campaign.tenant in tenants]
    campaigns = campaigns[draw(st.integers(0, 2)) :]
    assets = [asset for asset in later.assets if asset.campaign in campaigns]
    return Application(tenants, campaigns, assets[draw(st.integers(0, 2)) :])


@st.composite
def source_rows(draw: st.DrawFn, table: MetricTable, columns: dict[str, str], known: Application) -> SourceRow:
    """A row about something that is known, mostly without a fault."""
    asset = draw(st.sampled_from(known.assets))
    connected = [campaign for campaign in known.campaigns if campaign.external_id is not None]
    campaign = asset.campaign if table is ASSET_METRICS else draw(st.sampled_from(connected))
    spellings = [str(campaign.tenant), str(campaign.tenant).upper()]
    row = {
        "metric_date": draw(st.sampled_from((DAY, *DAYS))),
        "tenant_id": draw(st.sampled_from([*spellings, None] if table is ASSET_METRICS else spellings)),
        "campaign_id": campaign.external_id,
        "asset_id": asset.external_id,
        "platform": campaign.platform,
        "metric_hour": draw(st.sampled_from([None, 0, 23])),
        "currency": draw(st.sampled_from([*CURRENCIES, *[CURRENCIES[campaign.id.int % 3]] * 9])),
        **draw(numbers(table, columns)),
    }
    if draw(st.integers(0, 7)) == 7:
        row |= draw(faults(table, columns))
    return {name: row[name] for name in columns}


def numbers(table: MetricTable, columns: dict[str, str]) -> st.SearchStrategy[SourceRow]:
    """Every measure, good."""
    return st.fixed_dictionaries({name: GOOD_NUMBERS[columns[name]] for name in table.measure_names})


def faults(table: MetricTable, columns: dict[str, str]) -> st.SearchStrategy[SourceRow]:
    """A column or two, bad."""
    in_keys = [fault for fault in BAD_KEYS if fault.keys() <= columns.keys()]
    in_numbers = [{name: value} for name in table.measure_names for value in BAD_NUMBERS[columns[name]]]
    return st.sampled_from(in_keys) | st.sampled_from(in_numbers)


@st.composite
def restated_rows(
    draw: st.DrawFn, table: MetricTable, columns: dict[str, str], rows: list[SourceRow], known: Application
) -> list[SourceRow]:
    """The rows later: some the same, some gone, some with other numbers, some bad, and new ones."""
    changes = {
        "same": st.just({}),
        "other numbers": numbers(table, columns),
        "another currency": st.sampled_from([{"currency": currency} for currency in CURRENCIES])
        if "currency" in columns
        else st.just({}),
        "bad": faults(table, columns),
    }
    # Often most rows fare alike: a date that is bad or gone as a whole is a case of its own.
    fate = st.sampled_from([*changes, "gone", *[draw(st.sampled_from([*changes, "gone"]))] * 4])
    fates = draw(st.lists(fate, min_size=len(rows), max_size=len(rows)))
    left = [row | draw(changes[fate]) for row, fate in zip(rows, fates, strict=True) if fate != "gone"]
    return left + draw(st.lists(source_rows(table, columns, known), max_size=5))


@st.composite
def stories(draw: st.DrawFn, table: MetricTable) -> Story:
    types = {
        "spend": draw(st.sampled_from(["FLOAT64", "NUMERIC(38, 9)"])),
        "conversions": draw(st.sampled_from(["INT64", "FLOAT64", "NUMERIC(38, 9)"])),
    }
    if draw(st.booleans()):
        types |= {"metric_hour": "INT64"} if table is CAMPAIGN_METRICS else {"tenant_id": "STRING"}
    if draw(st.booleans()):
        types |= {"currency": "STRING"}
    columns = {**(CAMPAIGN_COLUMNS if table is CAMPAIGN_METRICS else ASSET_COLUMNS), **types}
    later = draw(applications())
    rows = draw(st.lists(source_rows(table, columns, later), min_size=3, max_size=12))
    dates = st.sampled_from([DAYS, DAYS, (DAY,), (DAY, DAY_AFTER_NEXT)])
    return Story(
        types,
        Chapter(draw(earlier(later)), rows, draw(dates)),
        Chapter(later, draw(restated_rows(table, columns, rows, later)), draw(dates)),
    )


def begin(world: World, table: MetricTable, story: Story) -> State:
    """Empty the world, whose servers every example shares; return what it holds."""
    world.connection.execute("TRUNCATE tenants, rejected_metric_rows CASCADE")
    world.create_source(table, **story.types)
    return {day: DateState() for day in DAYS}


def tell(world: World, table: MetricTable, chapter: Chapter) -> None:
    """Make the application and BigQuery hold what the chapter says; both only learn in a restatement."""
    known = chapter.application
    with world.connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO tenants (id, name) VALUES (%s, 'Acme') ON CONFLICT DO NOTHING",
            [[tenant] for tenant in known.tenants],
        )
        cursor.executemany(
            "INSERT INTO campaign_spaces (id, tenant_id, name, platform, external_campaign_id)"
            " VALUES (%s, %s, 'Spring', %s, %s) ON CONFLICT DO NOTHING",
            [[space.id, space.tenant, space.platform, space.external_id] for space in known.campaigns],
        )
        cursor.executemany(
            "INSERT INTO campaign_assets (id, tenant_id, campaign_space_id, name, external_asset_id)"
            " VALUES (%s, %s, %s, 'Image', %s) ON CONFLICT DO NOTHING",
            [[asset.id, asset.campaign.tenant, asset.campaign.id, asset.external_id] for asset in known.assets],
        )
    world.execute(f"TRUNCATE TABLE {world.dataset}.{table.source}")
    if chapter.source:
        world.load(chapter.source, table)


def sync(
    world: World,
    table: MetricTable,
    chapter: Chapter,
    before: State,
    shrink_threshold: float | None = None,
    dry_first: bool = False,
) -> State:
    """Sync the chapter's dates, compare what was counted and is held with the oracle, and return the latter.

    With `dry_first`, a dry run says before that what the sync then does, and writes nothing.
    """
    run = uuid4()
    after = dict(before)
    dry = dry_run(world, table, chapter, before, shrink_threshold) if dry_first else None
    outcomes = world.sync(*chapter.dates, table=table, shrink_threshold=shrink_threshold, run_id=run)
    assert tuple(outcome.day for outcome in outcomes) == chapter.dates
    assert dry is None or dry == [said(outcome) for outcome in outcomes]
    for outcome in outcomes:
        day = outcome.day
        state, counts = oracle.sync_date(table, chapter.source, chapter.application, before[day], day, run)
        if oracle.shrinks(before[day], state, counts["processed"], shrink_threshold):
            assert isinstance(outcome, FailedDate), outcome
            assert isinstance(outcome.error, DateWouldShrink), outcome
            event("a date was refused")
            continue
        assert isinstance(outcome, SyncedDate), outcome
        assert vars(outcome.merged.counts) == counts
        assert counts["processed"] == sum(counts[n] for n in ("inserted", "updated", "unchanged", "rejected"))
        landed = outcome.merged
        assert (landed.rows, landed.spend, landed.revenue) == (
            len(state.rows),
            state.total("spend"),
            state.total("revenue"),
        )
        if before[day].rows:
            check_changes(landed, before[day])
        else:
            assert landed.changes is None
        after[day] = state
    assert held(world, table) == after
    for row in world.rows(table):
        measures = {name: Decimal(row[name]) for name in table.measure_names}
        for name, ratio in oracle.ratios(table, measures).items():
            assert agree(row[name], ratio), (name, measures)
    return after


def dry_run(
    world: World, table: MetricTable, chapter: Chapter, before: State, shrink_threshold: float | None
) -> list[object]:
    """Run dry, check that nothing is written and that the changes add up; return what it said."""
    untouched = world.everything()
    outcomes = world.sync(*chapter.dates, table=table, shrink_threshold=shrink_threshold, dry_run=True)
    assert world.everything() == untouched
    for outcome in outcomes:
        if isinstance(outcome, FailedDate):
            continue
        check_changes(outcome.merged, before[outcome.day])
    return [said(outcome) for outcome in outcomes]


def check_changes(merged: MergedDate, before: DateState) -> None:
    """Check that the sums before the sync are right, and that the changes add up to the sums after it."""
    changes = merged.changes
    assert changes is not None
    assert _amounts(changes.spend_before, changes.revenue_before) == _amounts(
        before.total("spend"), before.total("revenue")
    )
    with localcontext(prec=100):  # no more changes than are shown
        for currency in [] if len(changes.largest) == LARGEST_SHOWN else ["", "EUR", "USD"]:
            of_currency = [change for change in changes.largest if change.currency == currency]
            spend = sum(change.spend_after - change.spend_before for change in of_currency)
            revenue = sum(change.revenue_after - change.revenue_before for change in of_currency)
            assert spend == merged.spend.get(currency, 0) - changes.spend_before.get(currency, 0)
            assert revenue == merged.revenue.get(currency, 0) - changes.revenue_before.get(currency, 0)


def _amounts(spend: ByCurrency, revenue: ByCurrency) -> dict[str, tuple[Decimal, Decimal]]:
    """Spend and revenue by currency, without currencies that have neither."""
    return {
        currency: (spend[currency], revenue[currency])
        for currency in spend
        if spend[currency] or revenue[currency]
    }


def said(outcome: SyncedDate | FailedDate) -> object:
    """What a dry run and a sync both say about a date."""
    if isinstance(outcome, FailedDate):
        return outcome.day, type(outcome.error), str(outcome.error)
    return outcome.day, replace(outcome.merged, changes=None), outcome.method, outcome.bytes_read


def agree(stored: Decimal | None, exact: Decimal | None) -> bool:
    """To 15 digits, wherever the point stands: a quotient in Postgres has at least 16."""
    if stored is None or exact is None:
        return stored is exact
    with localcontext(prec=60):
        return abs(stored - exact) <= abs(exact) * Decimal("1e-15")


def held(world: World, table: MetricTable) -> State:
    """What Postgres holds, in the oracle's words."""
    state = {day: DateState() for day in DAYS}
    names = {}
    for row in world.rows(table):
        names[row["id"]] = (row[table.target_id], row.get("metric_hour"))
        measures = {name: Decimal(row[name]) for name in table.measure_names}
        state[row["metric_date"]].rows[names[row["id"]]] = MetricRow(
            row["tenant_id"], row["platform"], row["currency"], measures, row["bigquery_sync_id"]
        )
    # The measures as text: Python's json would read them as floats.
    for row in world.query(
        "SELECT metric_date, keys, reason_code, currency, kept_row_ids, run_id,"
        " (SELECT jsonb_object_agg(key, value) FROM jsonb_each_text(measures)) AS measures"
        " FROM rejected_metric_rows WHERE resolved_at IS NULL AND table_name = %s",
        [table.source],
    ):
        state[row["metric_date"]].rejected[frozenset(row["keys"].items())] = Rejection(
            row["reason_code"],
            row["currency"],
            {name: None if value in (None, "NaN") else Decimal(value) for name, value in row["measures"].items()},
            frozenset(names[kept] for kept in row["kept_row_ids"]),
            row["run_id"],
        )
    return state


def settled(world: World, table: MetricTable) -> tuple[object, ...]:
    """The metric rows' versions, and which records are rejected since when: what syncing again leaves alone."""
    rejected = world.query(
        "SELECT id, first_seen_at, resolved_at, keys, measures FROM rejected_metric_rows ORDER BY id"
    )
    return versions(world, table), rejected


def check(world: World, table: MetricTable, story: Story) -> None:
    """Load and restate as the story says; both times the oracle is right, and syncing again changes nothing.

    The dry run before each sync says the same.
    """
    state = begin(world, table, story)
    for chapter in (story.first, story.restated):
        tell(world, table, chapter)
        state = sync(world, table, chapter, state, dry_first=True)
        before = settled(world, table)
        state = sync(world, table, chapter, state)
        assert settled(world, table) == before


EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    print_blob=True,
    phases=set(Phase) - {Phase.explain},  # it takes minutes, at a sync for each attempt
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.long
@given(story=stories(CAMPAIGN_METRICS))
@EXAMPLES
def test_campaign_metrics_become_what_the_oracle_says_and_stay_so(world: World, story: Story) -> None:
    check(world, CAMPAIGN_METRICS, story)


@pytest.mark.long
@given(story=stories(ASSET_METRICS))
@EXAMPLES
def test_asset_metrics_become_what_the_oracle_says_and_stay_so(world: World, story: Story) -> None:
    check(world, ASSET_METRICS, story)


@pytest.mark.long
@given(story=stories(CAMPAIGN_METRICS), threshold=st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]))
@EXAMPLES
def test_a_date_is_refused_when_the_oracle_says_so_and_then_left_as_it_was(
    world: World, story: Story, threshold: float
) -> None:
    state = begin(world, CAMPAIGN_METRICS, story)
    tell(world, CAMPAIGN_METRICS, story.first)
    state = sync(world, CAMPAIGN_METRICS, story.first, state)

    tell(world, CAMPAIGN_METRICS, story.restated)
    sync(world, CAMPAIGN_METRICS, story.restated, state, threshold, dry_first=True)
