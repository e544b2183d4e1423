"""What runs: one file per deployment. Imports ``tasks`` and ``blocks``."""
