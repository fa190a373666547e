"""From YAML to specs: the experiment file with its lines, the runs of its sweep, widths at an equal budget."""
