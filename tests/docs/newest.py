"""`python -m tests.docs.newest job`: the id of the newest job, once none is running any more; or of its `network N`.

What JOB and NETWORK stand for on a page, where its blocks are run.
"""

from __future__ import annotations

import sys

from service.client import Client


def main(what: str, number: int = 0) -> str:
    """The id; networks in the order of the front, then others that were evaluated, the largest never."""
    with Client() as client:
        newest = client.jobs(limit=1)["jobs"][0]
        job = client.job(newest["id"]).wait()
        if what == "job":
            return str(job.id)
        every = list(client.evaluations(job.id))
        largest = max(every, key=lambda one: one["metrics"]["params"])["architecture_id"]
        ids = [network.id for network in job.front.networks] + [one["architecture_id"] for one in every]
        return [one for one in dict.fromkeys(ids) if one != largest][number]


if __name__ == "__main__":
    print(main(sys.argv[1], *map(int, sys.argv[2:])))  # noqa: T201 - what a shell reads
