"""`sasa count-flops`: exact parameters and MACs of a network, by formula, and the paper's own beside them."""
