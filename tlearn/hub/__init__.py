"""Weights from elsewhere and back: raw readers, mapping tables, one strict engine, reconcile."""
