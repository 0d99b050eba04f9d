"""``python manage.py demo``"""

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management.base import BaseCommand, CommandError

#: The users, and the groups of each.
USERS = {"john": ["chatters"], "mary": ["chatters"], "paul": []}

PASSWORD = "chat"


class Command(BaseCommand):
    """Create three users for the chat."""

    help = f"Create the users {', '.join(USERS)} with the password {PASSWORD}, to try the chat."

    def handle(self, *args, **options):
        """Create the users who do not exist yet."""
        if not settings.DEBUG:
            raise CommandError("everybody knows these passwords: this is for DEBUG = True")
        for name, groups in USERS.items():
            if User.objects.filter(username=name).exists():
                continue
            user = User.objects.create_user(name, password=PASSWORD)
            user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
        self.stdout.write(f"Users {', '.join(USERS)}; their password is {PASSWORD}.")
