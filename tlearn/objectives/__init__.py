"""(outputs, batch) to sums and counts."""
