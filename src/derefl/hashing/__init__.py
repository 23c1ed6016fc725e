"""Cross-modal hashing: short binary codes of pictures and texts, and the search among them."""
