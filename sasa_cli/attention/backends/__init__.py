"""The ways to compute local attention."""
