"""Images: known data sets, fixed splits, and batches that depend on nothing but seed and epoch."""
