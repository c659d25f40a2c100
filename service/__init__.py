"""What the user talks to: HTTP, rows, pages and the command line. No torch."""
