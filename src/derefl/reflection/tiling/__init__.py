"""Apply the network to pictures of any size."""
