"""A task is data + objective + head + metric."""
