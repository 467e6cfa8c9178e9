"""Which foreign name is which parameter: one file per family and origin, nothing but facts."""
