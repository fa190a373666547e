"""Where the runs of a sweep go: which are still to be done, and how they are started. Imports no torch."""
