"""The stages of a job as steps that return records."""
