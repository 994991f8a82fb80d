"""The REST API: the job log and the metrics, for one tenant at a time."""
