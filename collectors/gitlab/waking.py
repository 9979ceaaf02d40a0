"""What the collectors of GitLab have in common that webhooks only wake: their payloads lack what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from collectors._hooks import body_object
from collectors.gitlab import hooks, mapping
from collectors.gitlab.settings import Watched
from collectors.gitlab.values import Json
from exporter.errors import BadAnswer
from exporter.hooks import Hook, HookNews, NotUnderstood

IsNews = Callable[[Json], bool]
_KINDS = frozenset(("pipeline", "build", "push", "tag_push", "merge_request", "deployment", "note"))


class WokenByHooks:
    """First among the bases of a collector whose projects are polled at once when a hook announces news.

    ``woken_by`` is ``kind of hook -> whether this one is news``. One secret may serve all collectors.
    """

    hook_name: ClassVar[str] = "gitlab"
    adopts: ClassVar[bool] = False
    woken_by: ClassVar[Mapping[str, IsNews]]
    config: Any

    def accepts_hooks(self) -> bool:
        """Whether a secret token or a signing token is configured."""
        return hooks.is_configured(self._watched.hooks)

    def hook_is_authentic(self, hook: Hook) -> bool:
        """Whether *hook* proves that it is GitLab's."""
        return hooks.is_authentic(hook, self._watched.hooks)

    def hook_id(self, hook: Hook) -> str:
        """GitLab's Idempotency-Key."""
        return hooks.hook_id(hook)

    def read_hook(self, hook: Hook) -> Iterable[HookNews]:
        """The project to be polled, if the hook is news; no news is understood all the same.

        Raises:
            NotUnderstood: it is of a kind that no collector of GitLab knows, or of another shape.
        """
        body = body_object(hook)
        kind = body.get("object_kind")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise NotUnderstood("a hook of another kind")
        try:
            is_news = self.woken_by.get(kind)
            return [HookNews(hooks.unit_of(body))] if is_news and is_news(body) else []
        except BadAnswer as error:
            raise NotUnderstood(str(error)) from error

    @property
    def _watched(self) -> Watched:
        config: Watched = self.config
        return config


def always(_body: Json) -> bool:
    """Any hook of the kind is news."""
    return True


def has_ended(body: Json) -> bool:
    """A pipeline that has ended is news."""
    attributes = body.get("object_attributes")
    word = attributes.get("status") if isinstance(attributes, dict) else None
    status = mapping.STATUSES.get(word) if isinstance(word, str) else None
    return status is not None and status.finished


def is_of_a_merge_request(body: Json) -> bool:
    """A comment on a merge request is news, one on anything else is not."""
    attributes = body.get("object_attributes")
    return isinstance(attributes, dict) and attributes.get("noteable_type") == "MergeRequest"
