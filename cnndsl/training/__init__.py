"""Recipes, schedules, the loop, checkpoints, evaluation."""
