"""Users without groups, with a string in place of groups, and with nameless groups."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, User
from django.db import models

__all__ = ["Badge", "Bearer", "Boss", "Clerk", "Person"]


class Person(AbstractBaseUser):
    """A user without groups."""

    email = models.CharField(max_length=50, unique=True)
    USERNAME_FIELD = "email"


class Clerk(AbstractBaseUser):
    """A user whose groups are a string."""

    email = models.CharField(max_length=50, unique=True)
    groups = models.CharField(max_length=50)
    USERNAME_FIELD = "email"


class Badge(models.Model):
    """A group without a name."""


class Bearer(AbstractBaseUser):
    """A user whose groups have no names."""

    email = models.CharField(max_length=50, unique=True)
    groups = models.ManyToManyField(Badge)
    USERNAME_FIELD = "email"


class Boss(User):
    """A user of Django, by another class."""

    class Meta:
        """The table is that of the users."""

        proxy = True
