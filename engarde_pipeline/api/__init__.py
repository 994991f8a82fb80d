"""The REST API: starts syncs and serves the job log and the metrics of a tenant."""
