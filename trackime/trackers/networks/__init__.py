"""Networks of published point trackers, written anew, whose parameters bear the names of the official checkpoints."""
