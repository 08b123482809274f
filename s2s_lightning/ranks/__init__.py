"""Several processes that train together: which of them this one is, and how a failure of one reaches the user."""
