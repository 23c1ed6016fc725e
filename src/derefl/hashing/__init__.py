"""Cross-modal hashing: pictures and text to short binary codes, and the search among them."""
