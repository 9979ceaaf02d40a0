"""A simulated Jenkins: its remote API over a forge, with real selection of fields."""
