"""The HTTP front door: signed links to files in custody."""
