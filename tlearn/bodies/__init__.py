"""Networks that carry over, one family a file."""
