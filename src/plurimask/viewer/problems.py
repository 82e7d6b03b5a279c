"""What a request may be refused for, beside what the files themselves say."""


class ProblemError(Exception):
    """An answer that is no success.

    Args:
        status: of HTTP.
        detail: one line for people.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
