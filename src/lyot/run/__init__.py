"""Configuration, plan, execution, manifest: one command from any input to the report, with resume."""
