"""The exceptions that a user can cause, and how they read."""


class UserError(Exception):
    """Bad input: the message says in one line what is wrong, where, and what would be right."""


class Stopped(BaseException):
    """The job was told to stop: it ends with one line and a status that is not 0.

    Like ``KeyboardInterrupt`` no ``Exception``, so that no library takes it for a failure of its
    own and carries on.
    """

    def __init__(self, message: str, status: int) -> None:
        """Take what happened and what is kept, and the exit status: 143 SIGTERM, 130 SIGINT."""
        super().__init__(message)
        self.message = message
        self.status = status
