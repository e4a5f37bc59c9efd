"""What only a server for a team needs; nothing of it is imported for one person's own."""
