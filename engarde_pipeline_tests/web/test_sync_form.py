"""The form of a sync: what was typed is kept, what is invalid is named, and a form sent twice is one sync."""

from uuid import UUID

import pytest

from engarde_pipeline.api.errors import Problem
from engarde_pipeline.web.sync_form import Campaign, SyncForm, campaign, field_errors

ID = "0f6a2c1e-5b1d-4c58-9d0e-3a7b6f2e8c41"


def test_empty_fields_are_the_defaults_of_the_api() -> None:
    request = SyncForm(action="start").sync_request()
    assert (request.start_date, request.end_date, request.platform) == (None, None, None)
    assert (request.campaign_space_ids, request.dry_run, request.all_tenants) == ([], False, False)


def test_a_preview_is_a_dry_run_and_so_is_a_form_without_a_button() -> None:
    assert SyncForm(action="preview").sync_request().dry_run
    assert SyncForm().sync_request().dry_run


def test_a_campaign_that_is_chosen_twice_is_one() -> None:
    form = SyncForm(campaign_space_ids=[ID, ID, "nonsense"])
    assert form.valid_ids == [UUID(ID)]
    assert SyncForm(campaign_space_ids=[ID, ID]).sync_request().campaign_space_ids == [UUID(ID)]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"start_date": "yesterday"}, "start_date"),
        ({"end_date": "2026-02-30"}, "end_date"),
        ({"end_date": "20260301"}, "end_date"),
        ({"platform": "x" * 101}, "platform"),
        ({"campaign_space_ids": ["c1"]}, "campaign_space_ids"),
    ],
)
def test_what_is_invalid_is_named_by_its_field(fields: dict[str, str], field: str) -> None:
    with pytest.raises(Problem) as refused:
        SyncForm.model_validate(fields).sync_request()
    assert field_errors(refused.value).keys() == {field}


def test_what_belongs_to_no_field_is_shown_above_the_form() -> None:
    assert field_errors(Problem(409, "A sync is running.", job_id="j")) == {"": "A sync is running."}
    assert field_errors(Problem(404, "No such campaign.")) == {"campaign_space_ids": "No such campaign."}
    assert field_errors(None) == {}


def test_the_same_form_has_the_same_key_until_it_is_changed() -> None:
    def key(**fields: str) -> str | None:
        form = SyncForm.model_validate({"key": "k", "action": "start", **fields})
        return form.idempotency_key(form.sync_request())

    assert key() == key()
    assert len({key(), key(key="other"), key(action="preview"), key(start_date="2026-03-01")}) == 4
    assert key(key="") is None


def test_a_campaign_without_a_name_can_be_chosen() -> None:
    row = {"id": UUID(ID), "name": None, "platform": None, "external_campaign_id": None}
    assert campaign(row) == Campaign(ID, "Campaign without a name", "–", "")
