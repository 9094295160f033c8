"""SHOWS to people: one file a verb. Nothing here decides; it asks the rooms below and prints."""
