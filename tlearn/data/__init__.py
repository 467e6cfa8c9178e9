"""Datasets, pipelines and batches; knows no other room."""
