"""Shared parts of all training loops: schedule, moving average, resumable state, log."""
