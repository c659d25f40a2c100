"""`python -m tests.docs.newest job`: the id of the newest job, once none is running any more; or of its `network`.

What JOB and NETWORK stand for on a page, where its blocks are run.
"""

from __future__ import annotations

import sys

from service.client import Client


def main(what: str) -> str:
    """The id."""
    with Client() as client:
        newest = client.jobs(limit=1)["jobs"][0]
        job = client.job(newest["id"]).wait()
        return str(job.id) if what == "job" else job.front.networks[0].id


if __name__ == "__main__":
    print(main(sys.argv[1]))  # noqa: T201 - what a shell reads
