"""The form of the page Sync: what was typed, and the sync that it asks for."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, cast
from uuid import UUID, uuid4

from pydantic import BaseModel, Field, ValidationError

from engarde_pipeline.api.errors import InvalidField, Problem, invalid_fields
from engarde_pipeline.api.schemas import SyncRequest
from engarde_pipeline.core.dates import today

LISTED = 50
"""The number of campaigns that a search lists."""

_Typed = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class SyncForm(BaseModel):
    """What was typed. Every field is a text, so that what is invalid can be shown again beside its error.

    `key` is different for each form that was shown: sending the same form twice starts one sync.
    """

    start_date: _Typed = ""
    end_date: _Typed = ""
    platform: _Typed = ""
    campaign_space_ids: list[_Typed] = []
    q: _Typed = ""
    allow_shrink: bool = False
    allow_growth: bool = False
    action: Literal["find", "preview", "start"] = "preview"
    key: _Typed = ""
    shown_tenant: _Typed = ""

    @property
    def valid_ids(self) -> list[UUID]:
        """The ids that are UUIDs."""
        return [each for each in map(_uuid, dict.fromkeys(self.campaign_space_ids)) if each]

    def sync_request(self) -> SyncRequest:
        """Return the sync that the form asks for.

        Raises:
            Problem: 422, with the invalid fields.
        """
        try:
            return SyncRequest.model_validate(
                {
                    "start_date": self.start_date or None,
                    "end_date": self.end_date or None,
                    "platform": self.platform or None,
                    "campaign_space_ids": list(dict.fromkeys(self.campaign_space_ids)),
                    "allow_shrink": self.allow_shrink,
                    "allow_growth": self.allow_growth,
                    "dry_run": self.action != "start",
                }
            )
        except ValidationError as error:
            raise invalid_fields(
                [
                    InvalidField(field=str(item["loc"][0]), message=item["msg"].removeprefix("Value error, "))
                    for item in error.errors()
                ]
            ) from None

    def idempotency_key(self, request: SyncRequest) -> str | None:
        """Return a key that is the same if this form is sent again as it is, or None for a form without `key`.

        A form that is changed and sent again, after going back to it, asks for another sync.
        """
        if not self.key:
            return None
        return hashlib.sha256(f"{self.key} {request.model_dump_json()}".encode()).hexdigest()


class SyncQuery(SyncForm):
    """The form in the address of its page, and the job before which the history begins."""

    before: _Typed = ""


def empty_form() -> SyncForm:
    """Return the form for the last seven dates."""
    return SyncForm(start_date=str(today() - timedelta(days=6)), end_date=str(today()))


def new_key() -> str:
    """Return the key of a form that is shown."""
    return uuid4().hex


@dataclass(frozen=True)
class Campaign:
    """A campaign that can be chosen."""

    id: str
    name: str
    platform: str
    external_id: str


@dataclass(frozen=True)
class Choices:
    """What can be chosen: platforms, the campaigns that are chosen, and those that match the search.

    `total` is the number of all campaigns that match.
    """

    platforms: Sequence[str]
    chosen: Sequence[Campaign]
    matching: Sequence[Campaign]
    total: int

    @property
    def hidden(self) -> int:
        """The number of campaigns that match and are not listed."""
        return self.total - len(self.matching)


def campaign(row: Mapping[str, Any]) -> Campaign:
    """Return a campaign of `campaign_search`."""
    return Campaign(
        str(row["id"]),
        row["name"] or "Campaign without a name",
        row["platform"] or "–",
        row["external_campaign_id"] or "",
    )


def choices_unknown(form: SyncForm) -> Choices:
    """Return what was chosen, if Postgres cannot say what can be."""
    chosen = [Campaign(str(each), str(each), "", "") for each in form.valid_ids]
    return Choices([form.platform] if form.platform else [], chosen, [], 0)


def field_errors(problem: Problem | None) -> dict[str, str]:
    """Return the message beside each field; the key "" has what belongs to no field."""
    if problem is None:
        return {}
    errors = cast("list[dict[str, str]]", problem.extensions.get("errors", []))
    by_field: dict[str, str] = {}
    for each in errors:
        name = each["field"] if each["field"] in SyncForm.model_fields else ""
        by_field[name] = "; ".join(filter(None, (by_field.get(name), each["message"])))
    if problem.status == 404:
        by_field["campaign_space_ids"] = problem.detail
    return by_field or {"": problem.detail}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
