"""The one exception that reaches the user as a line of text instead of a traceback."""


class UserError(Exception):
    """What the user gave cannot work.

    The message is one line that states the value, the rule it breaks and the remedy; the command line prints
    it alone and exits with 2.
    """
