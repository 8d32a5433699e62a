"""Rules and paths of named block weights."""
