"""Users without groups, with groups that are something else, and with nameless ones."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, User
from django.db import models

__all__ = ["Badge", "Bearer", "Boss", "Clerk", "Person"]


class Person(AbstractBaseUser):
    """One who knows no groups."""

    email = models.CharField(max_length=50, unique=True)
    USERNAME_FIELD = "email"


class Clerk(AbstractBaseUser):
    """One whose groups are a text."""

    email = models.CharField(max_length=50, unique=True)
    groups = models.CharField(max_length=50)
    USERNAME_FIELD = "email"


class Badge(models.Model):
    """A group without a name."""


class Bearer(AbstractBaseUser):
    """One whose groups have no names."""

    email = models.CharField(max_length=50, unique=True)
    groups = models.ManyToManyField(Badge)
    USERNAME_FIELD = "email"


class Boss(User):
    """One of Django's users, by another class."""

    class Meta:
        """The table is that of the users."""

        proxy = True
