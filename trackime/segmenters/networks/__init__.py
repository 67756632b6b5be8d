"""Networks of published segmenters, written anew, whose parameters bear the names of the official checkpoints."""
