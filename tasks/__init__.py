"""What one step does: the stages, and the work every stage shares. Imports only ``blocks``."""
