"""Building blocks for probers, for authors of plugin types, such as running programs or watching
folders. Import each module separately, because some take long to import."""
