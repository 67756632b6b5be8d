"""Many points followed through a video."""
