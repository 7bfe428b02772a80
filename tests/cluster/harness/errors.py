"""The one error of the harness, apart so that every module can raise it."""


class HarnessError(Exception):
    """The test cluster cannot be built, started or asked; the message says what to do."""
