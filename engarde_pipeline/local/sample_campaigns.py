"""The sample portfolio: four tenants, their campaigns on four platforms, and the creatives in them.

All ids follow from names, so they are the same on every machine and in every year.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from uuid import UUID, uuid5

_NAMESPACE = UUID("5e0f6e2c-7d0b-5c39-9a6e-2f6f3b1d9c41")


@dataclass(frozen=True)
class Tenant:
    """A brand whose campaigns are shown; `market` decides its week and its year.

    `currencies` has the currency of its account on each platform.
    """

    id: UUID
    name: str
    market: str
    currencies: Mapping[str, str]


@dataclass(frozen=True)
class Asset:
    """A creative; `external_asset_id` is the ad platform's id."""

    id: UUID
    external_asset_id: str
    name: str


@dataclass(frozen=True)
class Campaign:
    """One campaign on one platform, with what its daily numbers are made from.

    `daily_budget` is in the account's currency. `goal` is brand, prospecting, retargeting or awareness.
    A campaign with a `flight` of (on, every) runs for `on` days out of `every`; without one it always runs.
    """

    id: UUID
    tenant_id: UUID
    name: str
    platform: str
    external_campaign_id: str
    assets: tuple[Asset, ...]
    market: str
    currency: str
    goal: str
    daily_budget: float
    flight: tuple[int, int] | None


def _tenant(name: str, market: str, currency: str, **others: str) -> Tenant:
    currencies = {**dict.fromkeys(_FORMATS, currency), **others}
    return Tenant(uuid5(_NAMESPACE, name), name, market, currencies)


_FORMATS = {
    "google": ("RSA", "Image 1.91:1", "Image 1:1", "Video 15s"),
    "meta": ("Carousel", "Reel 9:16", "Static 4:5", "Collection"),
    "tiktok": ("Spark UGC", "In-Feed 9s", "In-Feed 15s", "Carousel"),
    "linkedin": ("Single Image", "Document Ad", "Video", "Message"),
}

TENANTS = (
    _tenant("Larkspur Outdoor", "retail", "USD"),
    _tenant("Maison Verlaine", "retail", "EUR"),
    _tenant("Cobalt Ledger", "business", "EUR"),
    _tenant("Tramonto Travel", "travel", "EUR", tiktok="USD", linkedin="USD"),
)

# platform | goal | daily budget | flight (days on / every) | name
_PORTFOLIO = {
    "Larkspur Outdoor": """
        google   | brand       | 210 |       | Search | Brand | Exact
        google   | prospecting | 540 |       | Search | Generic | Hiking Boots
        google   | prospecting | 380 |       | Search | Generic | Tents
        google   | prospecting | 760 |       | PMax | All Products
        google   | awareness   | 240 | 21/49 | YouTube | Above the Treeline
        meta     | prospecting | 620 |       | Prospecting | Advantage+ Shopping | Broad
        meta     | prospecting | 310 |       | Prospecting | Lookalike 1% | Purchasers
        meta     | retargeting | 260 |       | Retargeting | 30d Site Visitors
        meta     | retargeting | 140 |       | Retargeting | Cart Abandoners 7d
        meta     | prospecting | 480 | 10/35 | Promo | Members Weekend
        tiktok   | prospecting | 230 |       | TT | Spark Ads | UGC Hiking 18-34
        tiktok   | awareness   | 170 | 28/56 | TT | Reach | Trail Stories
        tiktok   | prospecting | 190 | 40/61 | TT | Shop | Daypacks
        tiktok   | retargeting |  90 |       | TT | Retargeting | Video Viewers 50%
        linkedin | awareness   | 110 | 30/60 | LI | Employer Brand | Store Managers
    """,
    "Maison Verlaine": """
        google   | brand       | 170 |       | Search | Brand | Phrase
        google   | prospecting | 420 |       | Search | Generic | Vitamin C Serum
        google   | prospecting | 690 |       | PMax | Skincare Bestsellers
        google   | retargeting | 150 |       | Display | Remarketing | All Visitors
        meta     | prospecting | 830 |       | ASC | Skincare | FR+BE
        meta     | prospecting | 410 |       | Prospecting | Interests | Clean Beauty
        meta     | prospecting | 350 | 14/42 | Launch | Night Oil
        meta     | retargeting | 290 |       | DPA | Viewed or Added to Cart 14d
        meta     | awareness   | 200 | 21/63 | Reach | Brand Film 30s
        tiktok   | prospecting | 460 |       | TT | Spark Ads | Creator Routines
        tiktok   | prospecting | 280 | 35/56 | TT | Shop | Serum Trio
        tiktok   | retargeting | 120 |       | TT | Retargeting | Engaged 30d
        tiktok   | awareness   | 210 | 12/40 | TT | TopView | New Season
        linkedin | awareness   |  90 | 25/70 | LI | B2B | Spa and Hotel Partners
    """,
    "Cobalt Ledger": """
        google   | brand       | 140 |       | Search | Brand | Cobalt Ledger
        google   | prospecting | 620 |       | Search | Non-Brand | Accounting Software
        google   | prospecting | 340 |       | Search | Competitors
        google   | prospecting | 260 | 45/60 | Demand Gen | Finance Leaders
        google   | retargeting | 120 |       | Display | Remarketing | Pricing Page
        meta     | prospecting | 220 |       | Leads | Lookalike | Trial Sign-ups
        meta     | retargeting | 130 |       | Retargeting | Trial Not Activated
        meta     | awareness   | 100 | 20/50 | Video Views | Customer Stories
        tiktok   | awareness   |  80 | 21/63 | TT | Founders Explain VAT
        linkedin | prospecting | 480 |       | LI | Lead Gen | CFO | DACH
        linkedin | prospecting | 430 |       | LI | Lead Gen | CFO | UK+IE
        linkedin | prospecting | 350 |       | LI | Lead Gen | Controllers 200-1000 FTE
        linkedin | retargeting | 190 |       | LI | Retargeting | Website 90d
        linkedin | awareness   | 240 | 30/45 | LI | Thought Leadership | Closing the Books
        linkedin | prospecting | 310 | 14/49 | LI | Webinar | E-Invoicing 101
        linkedin | retargeting | 150 |       | LI | Conversation Ads | Demo No-Shows
    """,
    "Tramonto Travel": """
        google   | brand       | 260 |       | Search | Brand | Tramonto
        google   | prospecting | 710 |       | Search | Generic | Italy Villas
        google   | prospecting | 390 |       | Search | Generic | City Breaks
        google   | prospecting | 560 |       | PMax | Travel Goals | Hotels
        google   | retargeting | 180 |       | Display | Remarketing | Searched No Booking
        google   | awareness   | 270 | 18/45 | YouTube | Slow Mornings
        meta     | prospecting | 520 |       | Prospecting | Broad | Couples 28-55
        meta     | prospecting | 300 | 40/60 | Prospecting | Families | School Holidays
        meta     | retargeting | 240 |       | Dynamic Travel Ads | Abandoned Search
        meta     | prospecting | 450 |  9/37 | Flash Sale | Amalfi Coast
        tiktok   | prospecting | 260 |       | TT | Spark Ads | Hidden Beaches
        tiktok   | awareness   | 180 | 24/48 | TT | Reach | 60 Seconds in Puglia
        tiktok   | retargeting | 110 |       | TT | Retargeting | Profile Visitors
        linkedin | prospecting | 210 |       | LI | Corporate Retreats | HR Leads
        linkedin | retargeting | 120 | 50/75 | LI | Retargeting | Retreat Brochure
    """,
}

_THEMES = {
    "Larkspur Outdoor": ("Summit Jacket", "Trail Runner", "Two-Person Tent", "Free Returns", "Members -20%"),
    "Maison Verlaine": ("Glow Serum", "Night Oil", "Before and After", "Refill Pouch", "Gift Set"),
    "Cobalt Ledger": ("Month-End in 2 Days", "Audit Trail", "CFO Quote", "ROI Calculator", "Free Trial"),
    "Tramonto Travel": ("Villa with Pool", "Last Minute", "Free Cancellation", "Puglia", "Rooftop Views"),
}

# How the platforms' ids look: a fixed beginning and the number of random digits after it.
_CAMPAIGN_IDS = {"google": ("2", 10), "meta": ("1202", 14), "tiktok": ("18", 14), "linkedin": ("6", 8)}
_ASSET_IDS = {"google": ("7", 11), "meta": ("1202", 14), "tiktok": ("18", 14), "linkedin": ("5", 8)}


@cache
def campaigns() -> tuple[Campaign, ...]:
    """Return the sample campaigns of all tenants, their assets in them."""
    return tuple(
        _campaign(tenant, *(part.strip() for part in line.split("|", 4)))
        for tenant in TENANTS
        for line in _PORTFOLIO[tenant.name].strip().splitlines()
    )


def _campaign(tenant: Tenant, platform: str, goal: str, budget: str, flight: str, name: str) -> Campaign:
    campaign_id = uuid5(tenant.id, f"{platform}/{name}")
    random = Random(f"campaign {campaign_id}")
    days_on, _, every = flight.partition("/")
    return Campaign(
        id=campaign_id,
        tenant_id=tenant.id,
        name=name,
        platform=platform,
        external_campaign_id=_external_id(random, _CAMPAIGN_IDS[platform]),
        assets=_assets(random, tenant, platform, campaign_id),
        market=tenant.market,
        currency=tenant.currencies[platform],
        goal=goal,
        daily_budget=float(budget),
        flight=(int(days_on), int(every)) if every else None,
    )


def _assets(random: Random, tenant: Tenant, platform: str, campaign_id: UUID) -> tuple[Asset, ...]:
    names = [f"{form} – {theme}" for form in _FORMATS[platform] for theme in _THEMES[tenant.name]]
    return tuple(
        Asset(uuid5(campaign_id, name), _external_id(random, _ASSET_IDS[platform]), name)
        for name in random.sample(names, random.randint(2, 5))
    )


def _external_id(random: Random, style: tuple[str, int]) -> str:
    beginning, digits = style
    return beginning + "".join(random.choices("0123456789", k=digits))
