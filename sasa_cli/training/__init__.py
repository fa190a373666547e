"""One run, from its spec to its record: training, evaluation, checkpoints."""
