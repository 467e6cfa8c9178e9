"""The subject: strategy, plan, optimizer from plan, the pull, features once, unfreezing stages."""
