"""Configuration: HCL or JSON files, variables and flags, read into frozen settings."""
