"""Cameras and depth from matches: the optimisation."""
