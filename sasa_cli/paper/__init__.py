"""What the paper prints, as data: Stand-Alone Self-Attention in Vision Models (Ramachandran et al., NeurIPS 2019)."""
