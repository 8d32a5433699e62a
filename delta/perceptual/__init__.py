"""Style and content as a network sees them: statistics, the loss, and pictures that are optimised for it."""
