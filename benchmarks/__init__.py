"""One script per question. Results are dated files with hardware and versions."""
