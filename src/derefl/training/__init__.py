"""What training any network here needs: schedule, moving average, resumable state, log."""
