"""The training loop of both wings, with its step, schedule, resumable state and log."""
