"""The examples in the OpenAPI document. The tests compare them with real responses."""

from typing import Any

from engarde_pipeline.core import metrics

CAMPAIGN_SPACE = "0f6a2c1e-5b1d-4c58-9d0e-3a7b6f2e8c41"
CAMPAIGN_ASSET = "5d0c9a7e-2f7b-4f0e-8a4d-6b1c3e9f7a20"
TENANT = "c2a4e6f8-1b3d-4f5a-8c7e-9d0b2a4c6e81"
REJECTED_RECORD = "a81f0d53-7c2e-4b96-9e1a-0c5d7f3b2e64"
JOB = "7b0e4f52-91c3-4f6a-8a53-2f1d9c0b6e77"

_DATES = {"start_date": "2026-03-01", "end_date": "2026-03-02"}

_SYNC_JOB = {
    "id": JOB,
    "job_type": "full_sync",
    "status": "pending",
    **_DATES,
    "started_at": None,
    "completed_at": None,
    "duration_seconds": None,
    "records_processed": 0,
    "records_inserted": 0,
    "records_updated": 0,
    "records_unchanged": 0,
    "records_deleted": 0,
    "records_failed": 0,
    "error_message": None,
    "error_details": None,
    "retry_count": 0,
    "max_retries": 3,
    "triggered_by": "api",
    "triggered_by_user_id": "u1",
    "metadata": {"attempts": [JOB], "dagster_job": "slice_sync"},
}

_RATIOS = {"ctr": 1.0, "cpc": 1.05, "cpm": 10.5, "roas": 4.0, "conversion_rate": 10.0}
_MEASURES = dict.fromkeys(metrics.CAMPAIGN_METRICS.measure_names, 0)
_ONE_DATE = {
    **_MEASURES,
    "impressions": 1000,
    "clicks": 10,
    "spend": 10.5,
    "conversions": 1.0,
    "revenue": 42.0,
    **_RATIOS,
}
_TWO_CAMPAIGNS = {
    **_MEASURES,
    "impressions": 4000,
    "clicks": 40,
    "spend": 42.0,
    "conversions": 4.0,
    "revenue": 168.0,
    **_RATIOS,
}

_TRUST: dict[str, Any] = {
    "synced_at": "2026-03-03T06:00:00.000000Z",
    "missing_dates": [],
    "provisional_from": None,
    "rejected_records": 0,
    "rejected_spend": 0,
}

SYNC_REQUEST: dict[str, Any] = {**_DATES}

SYNC_STARTED: dict[str, Any] = {
    "success": True,
    "message": "The sync of 2026-03-01 to 2026-03-02 is pending.",
    "sync_job": _SYNC_JOB,
}

SYNC_JOB: dict[str, Any] = {"success": True, "sync_job": _SYNC_JOB}

SYNC_STATUS: dict[str, Any] = {
    "success": True,
    "last_sync": None,
    "is_syncing": True,
    "recent_jobs": [_SYNC_JOB],
    "total_jobs": 1,
    "next_cursor": None,
}

METRICS: dict[str, Any] = {
    "success": True,
    **_DATES,
    "group_by": "platform",
    **_TRUST,
    "metrics": [{"platform": "meta", "currency": "EUR", **_TWO_CAMPAIGNS}],
    "total_records": 1,
    "next_cursor": None,
}

CAMPAIGN_METRICS: dict[str, Any] = {
    "success": True,
    "campaign_space_id": CAMPAIGN_SPACE,
    **_DATES,
    **_TRUST,
    "metrics": [
        {"date": "2026-03-01", "currency": "EUR", **_ONE_DATE},
        {"date": "2026-03-02", "currency": "EUR", **_ONE_DATE},
    ],
    "summary": {
        "currency": "EUR",
        **{f"total_{name}": 0 for name in _MEASURES},
        "total_impressions": 2000,
        "total_clicks": 20,
        "total_spend": 21.0,
        "total_conversions": 2.0,
        "total_revenue": 84.0,
        "avg_ctr": 1.0,
        "avg_roas": 4.0,
        "avg_cpc": 1.05,
        "conversion_rate": 10.0,
        "days_tracked": 2,
    },
}

_ASSET_RATIOS = {**_RATIOS, "engagement_rate": 5.0}
_ASSET_SUMS = {
    **dict.fromkeys(metrics.ASSET_METRICS.measure_names, 0),
    "impressions": 2000,
    "clicks": 20,
    "spend": 21.0,
    "conversions": 2.0,
    "revenue": 84.0,
    "engagements": 100,
}
_ASSET_ON_ONE_DATE = {**_ONE_DATE, "engagements": 50, "engagement_rate": 5.0}

ASSET_GROUP_METRICS: dict[str, Any] = {
    "success": True,
    **_DATES,
    "group_by": "asset",
    **_TRUST,
    "metrics": [
        {"campaign_asset_id": CAMPAIGN_ASSET, "currency": "EUR", "name": "a1", **_ASSET_SUMS, **_ASSET_RATIOS}
    ],
    "total_records": 1,
    "next_cursor": None,
}

ASSET_METRICS: dict[str, Any] = {
    "success": True,
    "campaign_asset_id": CAMPAIGN_ASSET,
    **_DATES,
    **_TRUST,
    "metrics": [
        {"date": "2026-03-01", "currency": "EUR", **_ASSET_ON_ONE_DATE},
        {"date": "2026-03-02", "currency": "EUR", **_ASSET_ON_ONE_DATE},
    ],
    "summary": {
        "currency": "EUR",
        **{f"total_{name}": total for name, total in _ASSET_SUMS.items()},
        "avg_ctr": 1.0,
        "avg_roas": 4.0,
        "avg_cpc": 1.05,
        "conversion_rate": 10.0,
        "engagement_rate": 5.0,
        "days_tracked": 2,
    },
}

REJECTED_RECORDS: dict[str, Any] = {
    "success": True,
    **_DATES,
    "rejected_records": [
        {
            "id": REJECTED_RECORD,
            "table": "campaign_metrics",
            "date": "2026-03-02",
            "keys": {"tenant_id": TENANT, "campaign_id": "c3", "platform": "meta", "metric_hour": None},
            "currency": "EUR",
            "measures": {
                **_MEASURES,
                "impressions": 1000,
                "clicks": 10,
                "spend": 10.5,
                "conversions": 1.0,
                "revenue": 42.0,
            },
            "source_rows": 1,
            "reason": "campaign_not_mapped",
            "what_to_do": metrics.RejectReason.CAMPAIGN_NOT_MAPPED.sentence,
            "first_seen_at": "2026-03-03T06:00:00.000000Z",
            "last_seen_at": "2026-03-03T06:00:00.000000Z",
        }
    ],
    "total_records": 1,
    "next_cursor": None,
}


def _problem(status: int, title: str, detail: str, **more: object) -> dict[str, Any]:
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}


_NOT_A_DATE = "is not a date; write it as YYYY-MM-DD"

PROBLEMS: dict[int, dict[str, Any]] = {
    401: _problem(
        401, "Not authenticated", "A bearer token is required; send the header Authorization: Bearer <JWT>."
    ),
    403: _problem(
        403, "Not allowed", "The token has no valid tenant: its claim tenant_id must be the UUID of a tenant."
    ),
    404: _problem(404, "Not found", "This sync job does not exist."),
    409: _problem(
        409,
        "A sync is running",
        "A sync of 2026-03-01 to 2026-03-02 is pending; wait until it has ended.",
        job_id=JOB,
    ),
    422: _problem(
        422,
        "Invalid request",
        f"start_date: {_NOT_A_DATE}",
        errors=[{"field": "start_date", "message": _NOT_A_DATE}],
    ),
    429: _problem(
        429,
        "Too many requests",
        "The rate limit of 30000 per 1 minute is exceeded; try again in 12 seconds.",
    ),
    503: _problem(
        503, "Temporarily unavailable", "Postgres does not respond in time; try again in a few seconds."
    ),
}

LIVE = """event: changed
data: {"table": "campaign_metrics", "dates": ["2026-03-01", "2026-03-02"]}

"""
