"""The version of the job format."""

# Grows when a stored job of today would be read otherwise tomorrow; `job/versions.py` has a step for each.
JOB_VERSION = 5
