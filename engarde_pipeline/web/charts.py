"""Charts of a measure or ratio by date: what the script draws, and the same as a sentence and a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from engarde_pipeline.web.date_ranges import written_range
from engarde_pipeline.web.metric_values import (
    RATIOS,
    Sums,
    in_currency,
    is_money,
    isolated,
    shown,
    total,
)
from engarde_pipeline.web.periods import DateNotes

_COLOURS = 8
"""As many as the style sheet has."""

_DASHES = ("1 0", "8 4", "2 3", "10 3 2 3")

_CHART_DECIMALS = 4
"""More than can be seen on a screen."""

ByDate = Mapping[date, Sums]


@dataclass(frozen=True)
class Series:
    """A line of a chart."""

    name: str
    number: int

    @property
    def colour(self) -> int:
        """The number of its colour."""
        return self.number % _COLOURS + 1

    @property
    def dashes(self) -> str:
        """The lengths of its dashes and gaps, so that no line is told from another by its colour alone."""
        return _DASHES[(self.number + self.number // _COLOURS) % len(_DASHES)]


@dataclass(frozen=True)
class ChartRow:
    """A date in the table of a chart, with a value for each line and, if there are several, for all of them."""

    day: date
    state: str
    values: list[str]


@dataclass(frozen=True)
class Chart:
    """A chart, and the data with which the script draws it."""

    id: str
    title: str
    summary: str
    series: list[Series]
    columns: list[str]
    rows: list[ChartRow]
    data: dict[str, Any]
    provisional_from: date | None
    has_partial: bool
    has_gaps: bool


@dataclass(frozen=True)
class ChartNumbers:
    """What a chart shows: the sums by line and date, in one currency."""

    measure: str
    currency: str | None
    lines: Mapping[str, ByDate]
    dates: Sequence[date]
    notes: DateNotes


def chart(numbers: ChartNumbers) -> Chart:
    """Return the chart of some lines."""
    names = list(numbers.lines)
    values = {name: _values(numbers, by_date) for name, by_date in numbers.lines.items()}
    overall = _values(numbers, _all_lines(numbers))
    columns = [*values.values(), *([overall] if len(names) > 1 else [])]
    states = [numbers.notes.state(day) for day in numbers.dates]
    title = in_currency(numbers.measure, numbers.currency)
    return Chart(
        id=f"chart-{numbers.currency or 'none'}",
        title=title,
        summary=_summary(title, numbers, overall),
        series=[Series(name, number) for number, name in enumerate(names)],
        columns=[*names, *(["All"] if len(names) > 1 else [])],
        rows=[
            ChartRow(day, state, [shown(numbers.measure, column[index]) for column in columns])
            for index, (day, state) in enumerate(zip(numbers.dates, states, strict=True))
        ],
        data={
            "first": _seconds(numbers.dates[0]) if numbers.dates else 0,
            "values": [[_rounded(value) for value in line] for line in values.values()],
            "kind": _kind(numbers.measure),
            "provisionalFrom": _seconds(numbers.notes.provisional_from) if "provisional" in states else None,
            "partial": [
                _seconds(day) for day, state in zip(numbers.dates, states, strict=True) if state == "partial day"
            ],
        },
        provisional_from=numbers.notes.provisional_from if "provisional" in states else None,
        has_partial="partial day" in states,
        has_gaps=any(value is None for value in overall),
    )


def _values(numbers: ChartNumbers, by_date: ByDate) -> list[Decimal | None]:
    """Return the value of each date; None is a gap: the date was never synced, or a ratio has denominator 0."""
    return [_value(numbers, by_date, day) for day in numbers.dates]


def _value(numbers: ChartNumbers, by_date: ByDate, day: date) -> Decimal | None:
    if day in by_date:
        return by_date[day].value(numbers.measure)
    return Sums({}).value(numbers.measure) if numbers.notes.is_synced(day) else None


def _all_lines(numbers: ChartNumbers) -> dict[date, Sums]:
    return {
        day: total(parts)
        for day in numbers.dates
        if (parts := [by_date[day] for by_date in numbers.lines.values() if day in by_date])
    }


def _summary(title: str, numbers: ChartNumbers, overall: Sequence[Decimal | None]) -> str:
    known = [(value, day) for value, day in zip(overall, numbers.dates, strict=True) if value is not None]
    if not known:
        return f"{title}: no numbers in these dates."
    measure, (first, last) = numbers.measure, (numbers.dates[0], numbers.dates[-1])
    sums = {name: total(by_date.values()) for name, by_date in numbers.lines.items()}
    whole = total(sums.values()).value(measure)
    (low, low_day), (high, high_day) = min(known), max(known)
    dates = f"on {first}" if first == last else f"from {written_range(first, last)}"
    parts = [f"{title} {dates}: {shown(measure, whole)}"]
    if len(sums) > 1:
        by_line = {name: value for name, each in sums.items() if (value := each.value(measure)) is not None}
        if by_line:
            most = max(by_line, key=lambda name: by_line[name])
            parts.append(f"highest on {isolated(most)} with {shown(measure, by_line[most])}")
    if low != high:
        parts.append(
            f"by date between {shown(measure, low)} on {low_day} and {shown(measure, high)} on {high_day}"
        )
    return "; ".join(parts) + "."


def _kind(measure: str) -> str:
    if is_money(measure):
        return "money"
    return "percent" if measure in RATIOS and RATIOS[measure].unit == "percent" else "number"


def _rounded(value: Decimal | None) -> float | None:
    return None if value is None else round(float(value), _CHART_DECIMALS)


def _seconds(day: date | None) -> int | None:
    return None if day is None else int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
