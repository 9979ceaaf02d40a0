"""The error tree, by who must act; no message here ever holds a token, a password or a DSN."""

from __future__ import annotations

from dataclasses import dataclass


class ExporterError(Exception):
    """Anything this program raises on purpose; its text is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration.

    ``file`` and ``line`` say where (``None`` when it came from a flag or the environment),
    ``key`` is the dotted path of the setting, ``message`` says what is wrong and what is allowed.
    """

    key: str
    message: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = (
            f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        )
        return f"{place}{self.key}: {self.message}" if self.key else f"{place}{self.message}"


class ConfigError(ExporterError):
    """The operator must change the configuration; carries every problem found, not just the first."""

    def __init__(self, problems: list[Problem] | str) -> None:
        self.problems = [Problem("", problems)] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SourceError(ExporterError):
    """A CI system or database did not answer as it should; the round fails, the old snapshot stays.

    ``retry_after`` is the wait in seconds that the source asked for, ``None`` when it named none.
    ``permanent`` means that asking again without a change on the other side is pointless.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, permanent: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.permanent = permanent


class BadAnswer(SourceError):
    """The source answered, but not in the documented shape."""


class Unauthorized(SourceError):
    """The source refused the credentials; polling stops until they change."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


class UnitUnavailable(SourceError):
    """One unit (a project, say) cannot be read, though the source itself answers.

    ``reason`` is one of :class:`exporter.contract.Trouble` and becomes a label value.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message, permanent=True)
        self.reason = reason


class Stopped(ExporterError):
    """The work was abandoned because the program is stopping; not a failure of anyone."""


class StoreError(ExporterError):
    """The store cannot be opened, read or written; what it already holds is untouched."""


class Unstorable(StoreError):
    """The store works, but refuses what it was given: it would refuse that the next time, too."""


class QuestionTooLong(StoreError):
    """The answer would take too long, or too many ask; a smaller or later question may be answered."""


class SinkError(ExporterError):
    """A receiver did not take an event or a message, which is kept and tried again.

    ``retry_after`` is the wait in seconds that the receiver asked for. ``permanent`` means that it will never
    take this one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, permanent: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.permanent = permanent


class LabelMismatch(ExporterError):
    """Our bug: a sample was built with labels that its family does not declare."""
