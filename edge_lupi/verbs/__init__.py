"""What each verb of the command line takes, checks and calls. The work and its imports are elsewhere."""
