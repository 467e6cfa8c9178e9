"""AWD-LSTM language models of fast.ai: ``0.encoder``, ``0.rnns.0.module``, ``1.decoder``.

Both of its versions: recurrent weights lie beside the module (2018 within it), dropped copies of
them and of the embedding may lie there too.
"""

from tlearn.hub.tables.awd_lstm_rows import make_family

FAMILY = make_family("awd_lstm_fastai", "0.", "1.decoder.")
"""This table's entry."""
