"""What probers are built with, for every author of a plugin type: running programs, watching
folders. Each module is imported by itself, for some take their time."""
