"""The JSON API: one table of endpoints that parses, answers and documents them."""
