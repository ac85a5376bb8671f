"""Where rules come from, one file a kind of source. Nothing here knows the order of the sources or what they share."""
