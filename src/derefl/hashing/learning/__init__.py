"""Data, losses, loops and measures behind the hashing models; nothing above imports this."""
