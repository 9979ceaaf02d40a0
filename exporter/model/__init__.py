"""What the program knows about the world: frozen records, standard library only."""
