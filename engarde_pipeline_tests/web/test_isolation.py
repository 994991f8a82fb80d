"""The pages show a tenant nothing of another one, whatever they are asked."""

import random
from datetime import timedelta
from uuid import UUID

import pytest
from dagster import DagsterInstance

from engarde_pipeline.core.dates import today
from engarde_pipeline.core.metrics import RejectReason
from engarde_pipeline_tests.api.service import Service
from engarde_pipeline_tests.dagster_runs import run_range, run_slice
from engarde_pipeline_tests.web.test_attention import reject
from engarde_pipeline_tests.web.visitor import Visitor
from engarde_pipeline_tests.world import World

DAY = today() - timedelta(days=5)
TENANTS, REQUESTS = 3, 300


class Crowd:
    """Tenants of which each has a word that is in all of its names, and a job of its own."""

    def __init__(self, world: World, instance: DagsterInstance) -> None:
        self.words: dict[UUID, str] = {}
        self.campaigns: dict[UUID, UUID] = {}
        self.jobs: dict[UUID, str] = {}
        self.rows: list[dict[str, object]] = []
        for number in range(TENANTS):
            word = f"zebra{number}"
            tenant = world.tenant(word)
            self.words[tenant] = word
            self.campaigns[tenant] = world.campaign(tenant, f"{word}-c", f"{word}-p")
            keys = {"tenant_id": str(tenant), "platform": f"{word}-p", "metric_date": DAY}
            world.load([{**keys, "campaign_id": f"{word}-{c}", "impressions": 7} for c in ("c", "unmapped")])
            for reason in list(RejectReason)[:4]:
                reject(world, tenant, reason, DAY, 2, keys={"campaign_id": f"{word}-{reason}"}, sentence=word)
        run_range(instance, DAY, DAY)
        for tenant, word in self.words.items():
            dates = {"start": str(DAY), "end": str(DAY), "tenant": str(tenant)}
            self.jobs[tenant] = run_slice(instance, {**dates, "platforms": [f"{word}-p"]}).run_id


@pytest.fixture
def crowd(configured: World, instance: DagsterInstance) -> Crowd:
    return Crowd(configured, instance)


@pytest.mark.long
def test_no_page_has_a_word_of_another_tenant(service: Service, crowd: Crowd) -> None:
    chance = random.Random(20261126)  # noqa: S311
    visitors = {tenant: Visitor(service, tenant) for tenant in crowd.words}
    tenants, seen = list(crowd.words), 0
    for _ in range(REQUESTS):
        mine, theirs = chance.choice(tenants), chance.choice(tenants)
        query: dict[str, object] = {"days": chance.choice([30, 90, 365])}
        path = chance.choice(["/freshness", "/attention", "/attention/rejected", "/sync", "/sync/{job}"])
        if path == "/attention/rejected":
            query["reason"] = chance.choice(list(RejectReason)[:4]).value
        elif path == "/sync":
            query = {
                "q": chance.choice(["", "c", "zebra"]),
                "campaign_space_ids": str(crowd.campaigns[theirs]),
                "before": chance.choice(["", crowd.jobs[theirs]]),
            }
        elif path == "/sync/{job}":
            path, query = f"/sync/{crowd.jobs[theirs]}", {}
        answer = visitors[mine].get(path, **query)
        others = [word for tenant, word in crowd.words.items() if tenant != mine]
        assert not [word for word in others if word in answer.text], (path, query)
        assert not [job for tenant, job in crowd.jobs.items() if tenant != mine and job in answer.text], (
            path,
            query,
        )
        # Before another tenant's job, as before one that does not exist, are the newest jobs.
        assert answer.status_code == (404 if mine != theirs and path.startswith("/sync/") else 200)
        seen += crowd.words[mine] in answer.text
    assert seen > REQUESTS / 4


def test_nobody_starts_a_sync_of_another_tenants_campaigns(
    service: Service, crowd: Crowd, instance: DagsterInstance
) -> None:
    runs = len(instance.get_runs())
    for mine in crowd.words:
        for theirs in crowd.words.keys() - {mine}:
            fields = {"start_date": str(DAY), "end_date": str(DAY), "action": "start", "key": "k"}
            fields["shown_tenant"] = str(mine)
            campaign = {"campaign_space_ids": str(crowd.campaigns[theirs])}
            platform = {"platform": f"{crowd.words[theirs]}-p"}
            assert Visitor(service, mine).post("/sync", **fields, **campaign).status_code == 404
            assert Visitor(service, mine).post("/sync", **fields, **platform).status_code == 422
    assert len(instance.get_runs()) == runs
