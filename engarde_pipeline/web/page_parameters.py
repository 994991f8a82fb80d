"""The query parameters of the pages, which are the whole state of a page, and links that change some of them."""

from datetime import date
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.metric_schemas import CampaignOrder
from engarde_pipeline.api.parameters import date_range
from engarde_pipeline.api.schemas import Count, IsoDate, Platform
from engarde_pipeline.core.dates import latest_date
from engarde_pipeline.core.metrics import CAMPAIGN_METRICS
from engarde_pipeline.postgres.reads.metrics_queries import NAMED_COLUMNS
from engarde_pipeline.web.metric_values import names_of

MAX_DAYS = 1100
"""The longest range of dates: three years. Each date is a row of a table."""

MAX_CAMPAIGNS = 200

_FORM_FIELDS = ("start_date", "end_date", "days", "platform")

TEXT_COLUMNS = (*NAMED_COLUMNS, "currency")
"""The columns of a table that are ordered from A to Z first."""


def _blank_is_none(value: object) -> object:
    return None if value == "" else value  # a form sends its empty fields, too


def _column(value: str) -> str:
    columns = (*TEXT_COLUMNS, *names_of(CAMPAIGN_METRICS))
    if value not in columns:
        raise ValueError(f"is not a column; use one of {', '.join(columns)}")
    return value


_Blank = BeforeValidator(_blank_is_none)


class PageParameters(BaseModel):
    """A range of dates, as dates or as a number of the last days, and the measure of the charts."""

    days: Annotated[Annotated[Count, Field(ge=1, le=MAX_DAYS)] | None, _Blank] = None
    start_date: Annotated[IsoDate | None, _Blank] = None
    end_date: Annotated[IsoDate | None, _Blank] = None
    measure: CampaignOrder = "spend"

    def dates(self, default_days: int) -> tuple[date, date]:
        """Return the first and the last date, which is not in the future unless the first is.

        Raises:
            Problem: 422, the first is after the last, or there are too many dates for a page.
        """
        if self.start_date and self.end_date and self.start_date > self.end_date:
            raise Problem(422, f"The first date, {self.start_date}, is after the last one, {self.end_date}.")
        start, end = date_range(self.start_date, self.end_date, self.days or default_days)
        end = min(end, max(start, latest_date()))
        if (number := (end - start).days + 1) > MAX_DAYS:
            raise Problem(422, f"{start} to {end} are {number:,} dates. A page shows at most {MAX_DAYS:,}.")
        return start, end

    def preset(self, default_days: int) -> int | None:
        """Return the number of days if the range is the last ones."""
        return None if self.start_date or self.end_date else self.days or default_days

    def with_days(self, days: int) -> Self:
        """Return the same page over the last `days` days."""
        return self.model_copy(update={"days": days, "start_date": None, "end_date": None})

    def but(self, **changes: Any) -> Self:
        """Return the same page with other values."""
        return self.model_copy(update=changes)

    def range_query(self, default_days: int) -> str:
        """Return the query string of another page with the same dates and measure, whatever its default is."""
        kept = {name: getattr(self, name) for name in PageParameters.model_fields}
        return PageParameters.model_construct(**{**kept, "days": self.preset(default_days)}).query

    @property
    def kept_by_form(self) -> list[tuple[str, object]]:
        """The parameters that the form for the range of dates has no fields for."""
        return [(name, value) for name, value in self._changed.items() if name not in _FORM_FIELDS]

    @property
    def query(self) -> str:
        """The query string with its question mark, or nothing; without what is the default."""
        changed = self._changed
        return f"?{urlencode(changed)}" if changed else ""

    @property
    def _changed(self) -> dict[str, object]:
        fields = type(self).model_fields
        return {name: value for name, value in self if value is not None and value != fields[name].default}


class OverviewParameters(PageParameters):
    """Also a filter, and the order and number of the top campaigns."""

    platform: Annotated[Platform | None, _Blank] = None
    order_by: Annotated[str, AfterValidator(_column)] = "spend"
    order: Annotated[Literal["asc", "desc"] | None, _Blank] = None
    limit: Annotated[Count, Field(ge=1, le=MAX_CAMPAIGNS)] = 20

    @property
    def is_descending(self) -> bool:
        """Whether the largest values come first."""
        return self.order == "desc" if self.order else self.order_by not in TEXT_COLUMNS

    def ordered_by(self, column: str) -> Self:
        """Return the page ordered by a column; by the one that it is ordered by already, the other way round."""
        if column != self.order_by:
            return self.but(order_by=column, order=None)
        return self.but(order="asc" if self.is_descending else "desc")
