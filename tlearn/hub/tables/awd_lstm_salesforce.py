"""AWD-LSTM of its authors, and fast.ai's encoders alone: ``encoder``, ``rnns.0.module``."""

from tlearn.hub.tables.awd_lstm_rows import make_family

FAMILY = make_family("awd_lstm_salesforce", "", "decoder.")
"""This table's entry."""
