"""What is said of a wrong config."""


class ConfigError(ValueError):
    """A config is wrong; the message names the key, what it got and what was expected."""
