"""Progressive shrinking: once-for-all's phases, and kernels made by transforms."""
