"""Hill climbing."""
