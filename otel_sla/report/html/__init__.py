"""A month as one HTML page, with all that it needs in it."""
