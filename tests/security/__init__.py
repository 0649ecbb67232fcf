"""A run is data: what somebody puts into a run neither executes, nor leads a write elsewhere, nor stops a command."""
