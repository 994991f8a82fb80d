"""Limits that several packages share."""

REJECTED_SHARE_LIMIT = 0.05
"""The share of a date's records that may be rejected before a check fails and on-call is alerted."""
