"""Keeps a marketing platform's Postgres true to BigQuery."""
