"""Training one configuration: the loop, its callbacks, the optimizer, metrics and the history file."""
