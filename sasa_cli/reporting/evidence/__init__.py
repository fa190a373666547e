"""From records to cells, comparisons, claims and verdicts: numbers only."""
