"""Trackers of experiments that jobs can be mirrored to: one file each, named as `WINNOW_MIRROR` names it.

Each has `PACKAGE`, the package that it imports, and `begin(run)`, which opens the tracker's run of a job or goes on
with it (`service.mirror.Tracker`).
"""
