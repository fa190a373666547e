"""What a run leaves on disk, and how far it is. Imports no torch."""
