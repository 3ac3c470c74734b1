"""Rewrites of graphs, one a file."""
