"""Where events go: what takes them from the outbox and hands them to other programs and to people."""
