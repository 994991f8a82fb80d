"""The controls of a page about a range of dates: links to other ranges and measures, and the live part."""

from dataclasses import dataclass
from datetime import date, timedelta

from engarde_pipeline.api.routers.live import MAX_DAYS
from engarde_pipeline.web.metric_values import label, names_of
from engarde_pipeline.web.page_parameters import PRESETS, PageParameters
from engarde_pipeline.web.periods import Period


@dataclass(frozen=True)
class Choice:
    """A link to the same page with another value."""

    text: str
    link: str
    is_current: bool


@dataclass(frozen=True)
class RangeView:
    """The range of a page, and the choices beside it. `live` is the range that the page can hear changes of."""

    path: str
    start: date
    end: date
    presets: list[Choice]
    measures: list[Choice]
    live: tuple[date, date] | None


def range_view(path: str, parameters: PageParameters, period: Period, default_days: int) -> RangeView:
    """Return the controls of a page."""
    current = parameters.preset(default_days)
    live_start = max(period.start, period.calendar.today - timedelta(days=MAX_DAYS))
    return RangeView(
        path=path,
        start=period.start,
        end=period.end,
        presets=[
            Choice(f"{days} days", path + parameters.with_days(days).query, days == current) for days in PRESETS
        ],
        measures=[
            Choice(label(name), path + parameters.but(measure=name).query, name == parameters.measure)
            for name in names_of()
        ],
        live=(live_start, period.end) if live_start <= period.end else None,
    )
