"""Building blocks for probers, for every author of a plugin type: running programs, watching
folders. Import each module by itself, because some take long to import."""
