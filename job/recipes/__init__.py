"""One paper, one file of defaults: `DEFAULTS` fills whatever a job leaves out."""
