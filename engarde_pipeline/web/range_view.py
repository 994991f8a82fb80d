"""The controls of a page about a range of dates: links to other ranges and measures, and the live part."""

from dataclasses import dataclass
from datetime import date

from engarde_pipeline.web.date_ranges import RANGES, written_range
from engarde_pipeline.web.metric_values import label, names_of
from engarde_pipeline.web.page_parameters import PageParameters
from engarde_pipeline.web.periods import Period


@dataclass(frozen=True)
class Choice:
    """A link to the same page with another value."""

    text: str
    link: str
    is_current: bool


@dataclass(frozen=True)
class RangeView:
    """The range of a page, whether it goes on to the latest date, and the choices beside it."""

    path: str
    start: date
    end: date
    is_latest: bool
    presets: list[Choice]
    measures: list[Choice]

    @property
    def dates(self) -> str:
        """The range in words."""
        return written_range(self.start, self.end)


def range_view(path: str, parameters: PageParameters, period: Period, default_days: int) -> RangeView:
    """Return the controls of a page."""
    current = parameters.preset(default_days)
    return RangeView(
        path=path,
        start=period.start,
        end=period.end,
        is_latest=period.end >= period.calendar.today,
        presets=[
            Choice(f"{days} days", path + parameters.with_days(days).query, days == current) for days in RANGES
        ],
        measures=[
            Choice(label(name), path + parameters.but(measure=name).query, name == parameters.measure)
            for name in names_of()
        ],
    )
