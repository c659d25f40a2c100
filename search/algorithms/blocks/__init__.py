"""Every alternative of every block scored once, then an integer program."""
