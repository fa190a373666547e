"""`sasa bench`: the time and memory of attention next to the convolution that it replaces, on this machine."""
