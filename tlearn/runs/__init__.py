"""The only place with config classes; presets; config to calls."""
