"""Limits that more than one part of the pipeline refers to."""

REJECTED_SHARE_LIMIT = 0.05
"""The share of a date's records that may be rejected before a check warns and on-call is alerted."""
