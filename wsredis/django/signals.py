"""
Signals of Django about sessions, users and groups become commands to the gateway.

Before a user or a group is saved, its old name is read from the database: the gateway knows it by
that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.exceptions import FieldDoesNotExist
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save
from django.utils import timezone

from wsredis.django.control import Control

__all__ = ["SignalReceiver"]

#: The attribute that holds the old name of an instance while it is saved.
_OLD_NAME = "_wsredis_old_name"


class SignalReceiver:
    """
    Sends a command to the gateway when Django signals that an identity changed.

    It is connected as long as it is referenced.

    Args:
        control: Sends the commands.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        user_logged_in.connect(self._logged_in)
        user_logged_out.connect(self._logged_out)
        for session in _family(_session_model()):
            post_delete.connect(self._session_deleted, sender=session)
        if apps.is_installed("django.contrib.auth"):
            self._connect_users(get_user_model())

    def _connect_users(self, model: Any) -> None:
        for user in _family(model):
            pre_save.connect(self._before_user, sender=user)
            post_save.connect(self._user_saved, sender=user)
            post_delete.connect(self._user_deleted, sender=user)
        memberships, group_model = _groups_of(model)
        if memberships is not None:
            m2m_changed.connect(self._membership_changed, sender=memberships)
        for group in _family(group_model):
            pre_save.connect(self._before_group, sender=group)
            post_save.connect(self._group_saved, sender=group)
            post_delete.connect(self._group_deleted, sender=group)

    # -- Sessions

    def _logged_in(self, request: Any, **_: Any) -> None:
        """The session has a new key now; the old key has ended."""
        old = getattr(request, "COOKIES", {}).get(settings.SESSION_COOKIE_NAME)
        if old != getattr(getattr(request, "session", None), "session_key", old):
            self._control.end_sessions(old)

    def _logged_out(self, request: Any, **_: Any) -> None:
        """The session is about to be removed."""
        session = getattr(request, "session", None)
        self._control.end_sessions(getattr(session, "session_key", None))

    def _session_deleted(self, instance: Any, using: str, **_: Any) -> None:
        # Expired sessions are deleted in great numbers. The gateway notices these without help.
        if instance.expire_date > timezone.now():
            self._control.end_sessions(instance.session_key, using=using)

    # -- Users

    def _before_user(self, sender: Any, **details: Any) -> None:
        _remember(sender.USERNAME_FIELD, sender, **details)

    def _user_saved(
        self,
        instance: Any,
        created: bool,
        update_fields: frozenset[str] | None,
        using: str,
        **_: Any,
    ) -> None:
        old = instance.__dict__.pop(_OLD_NAME, None)
        # Every login saves this field.
        if not created and update_fields != frozenset(("last_login",)):
            self._control.recheck_users(old, instance.get_username(), using=using)

    def _user_deleted(self, instance: Any, using: str, **_: Any) -> None:
        self._control.recheck_users(instance.get_username(), using=using)

    # -- Groups

    def _before_group(self, sender: Any, **details: Any) -> None:
        _remember("name", sender, **details)

    def _group_saved(self, instance: Any, using: str, **_: Any) -> None:
        old = instance.__dict__.pop(_OLD_NAME, None)
        if old != instance.name:
            self._control.recheck_groups(old, using=using)

    def _group_deleted(self, instance: Any, using: str, **_: Any) -> None:
        self._control.recheck_groups(instance.name, using=using)

    def _membership_changed(
        self,
        instance: Any,
        action: str,
        reverse: bool,
        model: Any,
        pk_set: set[Any] | None,
        using: str,
        **_: Any,
    ) -> None:
        if action != "post_clear" and not (action in ("post_add", "post_remove") and pk_set):
            return
        if not reverse:
            self._control.recheck_users(instance.get_username(), using=using)
        elif action == "post_clear":
            # The database no longer knows the members, but the gateway does.
            self._control.recheck_groups(getattr(instance, "name", None), using=using)
        else:
            users = model._base_manager.using(using).filter(pk__in=pk_set)
            names = users.values_list(model.USERNAME_FIELD, flat=True)
            self._control.recheck_users(*names, using=using)


def _remember(
    field: str,
    sender: Any,
    instance: Any,
    update_fields: frozenset[str] | None,
    using: str,
    **_: Any,
) -> None:
    """Keep the name that is in the database, unless this save cannot change it."""
    if instance.pk is None or (update_fields is not None and field not in update_fields):
        return
    found = sender._base_manager.using(using).filter(pk=instance.pk)
    setattr(instance, _OLD_NAME, found.values_list(field, flat=True).first())


def _family(model: Any) -> Iterator[Any]:
    """Return the model with its proxies and subclasses; each sends signals of its own."""
    if model is not None:
        yield from (each for each in apps.get_models() if issubclass(each, model))


def _session_model() -> Any:
    """Return the model of the sessions. None if they are not in a database."""
    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
        return getattr(store, "get_model_class", lambda: None)()
    except (AttributeError, ImportError, RuntimeError):
        # A wrong name, or an app that is not installed: a system check reports it.
        return None


def _groups_of(user_model: Any) -> tuple[Any, Any]:
    """Return the models of memberships and of groups. None for one that does not exist."""
    try:
        field = user_model._meta.get_field("groups")
    except FieldDoesNotExist:
        return None, None
    if not field.many_to_many or field.auto_created:
        return None, None
    group = field.related_model
    named = any(each.name == "name" for each in group._meta.fields)
    return field.remote_field.through, group if named else None
