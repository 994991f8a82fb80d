"""The incidents that are reported to on-call."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Incident:
    """Something that is wrong now. `key` identifies the incident until it is over."""

    key: str
    title: str
    reason: str
    what_to_do: str
    job: str = ""
    dates: str = ""
    run_id: str = ""

    def text(self, dagster_url: str) -> str:
        """Return the details in lines, with a link to the run if there is one."""
        lines = [
            self.reason,
            f"Job: {self.job}" if self.job else "",
            f"Dates: {self.dates}" if self.dates else "",
            f"What to do: {self.what_to_do}",
            f"Run: {dagster_url}/runs/{self.run_id}" if self.run_id else f"Dagster: {dagster_url}/runs",
        ]
        return "\n".join(line for line in lines if line)
