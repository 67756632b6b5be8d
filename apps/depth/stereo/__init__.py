"""Dense depth from known cameras, and filling it."""
