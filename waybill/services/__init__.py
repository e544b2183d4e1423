"""What the command line and the gateway both do: application services without a user interface."""
