"""The incidents that are reported to on-call."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Incident:
    """Something that is wrong now. `key` identifies the incident until it is over.

    `items` are what it consists of, such as dates: it is reported again when there are new ones. `page` is the
    page of the Dagster UI to open if the incident is not about a run.
    """

    key: str
    title: str
    reason: str
    what_to_do: str
    job: str = ""
    dates: str = ""
    run_id: str = ""
    page: str = "runs"
    items: tuple[str, ...] = ()

    def link(self, dagster_url: str) -> str:
        """Return the address of the run or page to open."""
        return f"{dagster_url}/runs/{self.run_id}" if self.run_id else f"{dagster_url}/{self.page}"

    def is_news_after(self, reported: "Incident | None") -> bool:
        """Return whether the incident has to be reported, given the incident of its key that was reported last."""
        return reported is None or not set(self.items) <= set(reported.items)

    def text(self, dagster_url: str) -> str:
        """Return the details in lines, with a link."""
        lines = [
            self.reason,
            f"Job: {self.job}" if self.job else "",
            f"Dates: {self.dates}" if self.dates else "",
            f"What to do: {self.what_to_do}",
            f"{'Run' if self.run_id else 'Dagster'}: {self.link(dagster_url)}",
        ]
        return "\n".join(line for line in lines if line)
