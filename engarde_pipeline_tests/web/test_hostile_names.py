"""Names are text: whatever is in them, a page has the same elements."""

import json
from datetime import date
from html.parser import HTMLParser
from typing import Any

from fastapi import FastAPI, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from engarde_pipeline.api.json_response import JsonArray
from engarde_pipeline.core.restatement import RestatementDays
from engarde_pipeline.postgres.reads.trust import Calendar
from engarde_pipeline.settings import ApiSettings
from engarde_pipeline.web.campaign_page import campaign
from engarde_pipeline.web.overview_page import overview
from engarde_pipeline.web.page_parameters import OverviewParameters
from engarde_pipeline.web.periods import Period
from engarde_pipeline.web.range_view import range_view
from engarde_pipeline.web.rendering import render
from engarde_pipeline_tests.api.service import SECRET

DAY = date(2026, 3, 1)
PERIOD = Period(DAY, DAY, Calendar(date(2026, 1, 1), date(2026, 3, 2), RestatementDays({}, 30)))
TRUST = (
    '{"synced_at": "2026-03-02T10:00:00Z", "missing_dates": [], "provisional_from": null, "rejected_records": 0,'
    ' "rejected_spend": 0}'
)
ID = "00000000-0000-0000-0000-000000000001"

MARKUP = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "</title>",
    "'",
    "</script>",
    "<!--",
]
NAMES = st.one_of(
    st.sampled_from(MARKUP),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=500),
    st.lists(st.sampled_from([*MARKUP, "\u202e", "\u2066", "&", "]]>", "\n"]), min_size=1).map("".join),
)


class Elements(HTMLParser):
    """The elements of a page, with the names of their attributes, and the texts in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Add an element."""
        self.elements.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        """Add text."""
        self.text += data


def rendered(template: str, **values: Any) -> str:
    app = FastAPI()
    app.state.settings = ApiSettings(
        api_database_url=SecretStr("postgresql://h/d"), jwt_secret_key=SecretStr(SECRET)
    )
    scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/", "query_string": b"", "headers": []}
    request = Request({**scope, "app": app})
    return bytes(render(request, template, **values).body).decode()


def overview_of(name: str) -> str:
    measures: dict[str, Any] = dict.fromkeys(("impressions", "clicks", "spend", "conversions", "revenue"), 1)
    ratios = dict.fromkeys(("ctr", "cpc", "cpm", "roas", "conversion_rate"), 1)
    numbers = ", ".join(f'"{key}": {value}' for key, value in (measures | ratios).items())
    group = f'{{"campaign_space_id": "{ID}", "currency": null, "name": {json.dumps(name)}, {numbers}}}'
    row = {
        "trust": TRUST,
        "days": f'[["{DAY}", {json.dumps(name)}, null, 1, 1, 1, 1, 1]]',
        "before": "[]",
        "dates_before": 0,
        "held_dates": [],
        "partial_dates": [],
        "platforms": [name[:100]],
        "groups": JsonArray.of(f"[{group}]"),
        "total": 1,
        "campaigns": f'[{{"id": "{ID}", "platform": {json.dumps(name)}, "spend": [["{DAY}", null, 1]]}}]',
        "has_campaigns": True,
        "has_synced_dates": True,
    }
    parameters = OverviewParameters(platform=name[:100])
    return rendered(
        "overview.html",
        view=range_view("/", parameters, PERIOD, 30),
        parameters=parameters,
        page=overview(row, parameters, PERIOD, 30),
    )


def campaign_of(name: str) -> str:
    row = {
        "trust": TRUST,
        "name": name,
        "platform": name,
        "external_campaign_id": name,
        "days": f'[["{DAY}", "{ID}", null, 1, 1, 1, 1, 1]]',
        "before": "[]",
        "dates_before": 0,
        "held_dates": [],
        "partial_dates": [],
    }
    names = ("impressions", "clicks", "spend", "conversions", "revenue", "engagements", "ctr", "engagement_rate")
    numbers = ", ".join(f'"{each}": 1' for each in names)
    assets = {"groups": f'[{{"name": {json.dumps(name)}, "currency": null, {numbers}}}]', "total": 1}
    parameters = OverviewParameters()
    return rendered(
        "campaign.html",
        view=range_view("/campaigns/1", parameters, PERIOD, 90),
        parameters=parameters,
        page=campaign(row, assets, parameters, PERIOD, 90),
    )


@settings(deadline=None)
@given(NAMES)
def test_a_name_adds_no_element_and_no_attribute(name: str) -> None:
    for page_of in (overview_of, campaign_of):
        harmless, hostile = Elements(page_of("name")), Elements(page_of(name))

        assert hostile.elements == harmless.elements
        assert name in hostile.text
